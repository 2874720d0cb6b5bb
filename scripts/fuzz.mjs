// `npm run fuzz`: every parser of what others have written, for longer than the tests take.
//   npm run fuzz -- --seconds 600 --seed 7           so long for each parser; the seed chooses the inputs, and is printed
//   npm run fuzz -- --target 'NBD requests'          one of them
//   npm run fuzz -- --save                           keeps inputs that reach something new in the tests' corpus
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    target: { type: 'string' },
    save: { type: 'boolean', default: false },
  },
});
for (const name of ['seconds', 'seed']) {
  if (values[name] === undefined || /^[1-9]\d{0,8}$/.test(values[name])) continue;
  console.error(`--${name} must be a whole number from 1 on, not ${values[name]}`);
  process.exit(1);
}
const env = {
  ...process.env,
  RAIDKIT_FUZZ_SECONDS: values.seconds,
  RAIDKIT_FUZZ_SEED: values.seed ?? String(1 + (Date.now() % 999_999_999)),
  ...(values.save ? { RAIDKIT_FUZZ_SAVE: '1' } : {}),
};
// Connections that are left after the last input may take a while to close.
const timeoutMs = (Number(values.seconds) + 60) * 1000 * 2;
const args = ['vitest', 'run', 'test/fuzz.test.ts', '--testTimeout', String(timeoutMs)];
const only = values.target === undefined ? [] : ['-t', values.target];
const { status } = spawnSync('npx', [...args, ...only], { stdio: 'inherit', env });
process.exit(status ?? 1);
