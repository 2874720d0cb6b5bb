// Kills and breaks for as long as one likes: node apps/daemon/scripts/torture.mjs --cycles 100 [--only raid5f]
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    /** How often the daemon is killed under load, at each level, on files and again on loop devices. */
    cycles: { type: 'string', default: '100' },
    /** Only tests with this in their names. */
    only: { type: 'string', default: '' },
  },
});
const tests = ['torture', 'interrupted-calls', 'faulty-devices', 'power-cuts', 'lying-disks'].map(
  (name) => `apps/daemon/test/${name}.test.ts`,
);
const { status } = spawnSync('npx', ['vitest', 'run', ...tests, ...(values.only === '' ? [] : ['-t', values.only])], {
  cwd: fileURLToPath(new URL('../../..', import.meta.url)),
  stdio: 'inherit',
  env: { ...process.env, RAIDKIT_TORTURE_CYCLES: values.cycles },
});
process.exit(status ?? 1);
