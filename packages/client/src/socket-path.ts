import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Where the daemon listens that the system's service manager runs. */
const serviceSocket = '/run/raidkit/raidkitd.sock';

/**
 * Where a daemon listens that was not told where: `$XDG_RUNTIME_DIR/raidkitd.sock`, `/run/raidkitd.sock` for root, else in
 * `/tmp` with the user's number. If nothing is there, the system's service, if that is there.
 */
export function defaultSocketPath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = ownSocketPath(env);
  return !existsSync(own) && existsSync(serviceSocket) ? serviceSocket : own;
}

function ownSocketPath({ XDG_RUNTIME_DIR: runtimeDir }: Readonly<Record<string, string | undefined>>): string {
  const uid = process.geteuid?.() ?? 0;
  // sudo -E hands on another user's.
  const isOwn = runtimeDir !== undefined && statSync(runtimeDir, { throwIfNoEntry: false })?.uid === uid;
  if (isOwn) return join(runtimeDir, 'raidkitd.sock');
  return uid === 0 ? '/run/raidkitd.sock' : `/tmp/raidkitd-${uid}.sock`;
}
