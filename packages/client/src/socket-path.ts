import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Where a daemon listens that was not told where: `$XDG_RUNTIME_DIR/raidkitd.sock`, `/run/raidkitd.sock` for root, else in
 * `/tmp` with the user's number.
 */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env): string {
  const { XDG_RUNTIME_DIR: runtimeDir } = env;
  if (runtimeDir !== undefined && existsSync(runtimeDir)) return join(runtimeDir, 'raidkitd.sock');
  const uid = process.getuid?.() ?? 0;
  return uid === 0 ? '/run/raidkitd.sock' : `/tmp/raidkitd-${uid}.sock`;
}
