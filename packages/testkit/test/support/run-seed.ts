import { execFileSync } from 'node:child_process';
import { env } from 'node:process';

/**
 * Returns the number of commits, or of `RAIDKIT_FAULT_SEED`: a seed with which tests that try a sample try another one with each
 * commit, and the same again for the same commit. Without a repository it is 0.
 */
export function runSeed(): number {
  if (env.RAIDKIT_FAULT_SEED !== undefined) return Number(env.RAIDKIT_FAULT_SEED);
  try {
    return Number(
      execFileSync('git', ['rev-list', '--count', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8', stdio: 'pipe' }),
    );
  } catch {
    return 0;
  }
}
