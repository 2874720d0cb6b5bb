// `npm test`: every check the project has, in the order in which a failure is cheapest to find.
import { spawnSync } from 'node:child_process';

const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' };
const onTwoReactors = ['rpc', 'transcript', 'clients', 'crash'].map((name) => `apps/daemon/test/${name}.test.ts`);
/** What says the same there: the levels without redundancy, and what does not depend on where a volume is. */
const leftOut = '.{0,2}(raid0|concat)|.*(demonstration|second signal|qemu)';
const steps = [
  ['npm', ['run', '--silent', 'typecheck']],
  ['npm', ['run', '--silent', 'lint']],
  ['npm', ['run', '--silent', 'build']],
  ['npm', ['run', '--silent', 'check:packages']],
  // This finds links in documents and comments that lead nowhere.
  ['npm', ['run', '--silent', 'docs:site']],
  // What depends on the engine, on io_uring where the machine has it. Much of it waits for processes, so that two files
  // at a time take two thirds of the time of one after another.
  ['npx', ['vitest', 'run', '--project', 'reactors', '--project', 'engine', '--maxWorkers', '2'], { RAIDKIT_ENGINE: 'uring' }],
  // The same daemon with its volumes on two reactors.
  [
    'npx',
    ['vitest', 'run', '--project', 'engine', '--maxWorkers', '2', ...onTwoReactors, '-t', `^(?!${leftOut})`],
    { RAIDKIT_ENGINE: 'uring', RAIDKIT_REACTORS: '2' },
  ],
  // What is simulated, two files at a time.
  ['npx', ['vitest', 'run', '--project', 'simulated', '--maxWorkers', '2']],
  // The same on the portable engine, which has no reactors.
  ['npx', ['vitest', 'run', '--project', 'engine', '--maxWorkers', '2'], { RAIDKIT_ENGINE: 'portable' }],
  // Everything else: most of it waits for processes, so that two files at a time take little more than one.
  ['npx', ['vitest', 'run', '--project', 'others', '--maxWorkers', '2'], { RAIDKIT_ENGINE: 'portable' }],
  // The table of mutations fits the sources; trying them takes longer (`npm run mutate -- --sample 10`).
  ['npm', ['run', '--silent', 'mutate', '--', '--check']],
  // What of a request is JavaScript, beside what was recorded last: printed for the reader, and never a reason to fail.
  ['node', ['benchmarks/dist/javascript.js', '--rounds', '1', '--results', '']],
];
for (const [command, args, extra = {}] of steps) {
  console.log(`\n> ${[command, ...args, ...Object.values(extra)].join(' ')}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...env, ...extra } });
  if (status !== 0) process.exit(status ?? 1);
}
