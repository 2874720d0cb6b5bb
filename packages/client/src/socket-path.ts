import { statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Where a daemon listens that was not told where: `$XDG_RUNTIME_DIR/raidkitd.sock`, `/run/raidkitd.sock` for root, else in
 * `/tmp` with the user's number.
 */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env): string {
  const { XDG_RUNTIME_DIR: runtimeDir } = env;
  const uid = process.geteuid?.() ?? 0;
  // sudo -E hands on another user's.
  const isOwn = runtimeDir !== undefined && statSync(runtimeDir, { throwIfNoEntry: false })?.uid === uid;
  if (isOwn) return join(runtimeDir, 'raidkitd.sock');
  return uid === 0 ? '/run/raidkitd.sock' : `/tmp/raidkitd-${uid}.sock`;
}
