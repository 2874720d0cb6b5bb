import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Socket of the daemon that the system's service manager runs. */
const serviceSocket = '/run/raidkit/raidkitd.sock';

/**
 * Returns the default path of a daemon's control socket: `$XDG_RUNTIME_DIR/raidkitd.sock`, `/run/raidkitd.sock` for root, else
 * a path in `/tmp` with the user's number. If there is no such socket, but the system service has one, returns that.
 */
export function defaultSocketPath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = ownSocketPath(env);
  return !existsSync(own) && existsSync(serviceSocket) ? serviceSocket : own;
}

function ownSocketPath({ XDG_RUNTIME_DIR: runtimeDir }: Readonly<Record<string, string | undefined>>): string {
  const uid = process.geteuid?.() ?? 0;
  // `sudo -E` passes another user's directory on.
  const isOwn = runtimeDir !== undefined && statSync(runtimeDir, { throwIfNoEntry: false })?.uid === uid;
  if (isOwn) return join(runtimeDir, 'raidkitd.sock');
  return uid === 0 ? '/run/raidkitd.sock' : `/tmp/raidkitd-${uid}.sock`;
}
