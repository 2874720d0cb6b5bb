// `npm test`: every check the project has, in the order in which a failure is cheapest to find.
import { spawnSync } from 'node:child_process';

const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' };
const onTwoReactors = ['rpc', 'transcript', 'clients', 'crash'].map((name) => `apps/daemon/test/${name}.test.ts`);
/** What says the same there: the levels without redundancy, and what does not depend on where a volume is. */
const leftOut = '.{0,2}(raid0|concat)|.*(demonstration|second signal|qemu)';
/** What of the daemon does not depend on how its I/O reaches the kernel. */
const ofAnyEngine = [
  'comes-up',
  'configuration',
  'dashboard',
  'events',
  'http-api',
  'metrics',
  'open-rpc',
  'refusals',
  'scan',
  'schedule',
  'small-methods',
];
const notOfEngine = ofAnyEngine.flatMap((name) => ['--exclude', `apps/daemon/test/${name}.test.ts`]);
const steps = [
  ['npm', ['run', '--silent', 'typecheck']],
  ['npm', ['run', '--silent', 'lint']],
  ['npm', ['run', '--silent', 'build']],
  ['npm', ['run', '--silent', 'check:packages']],
  // Once on io_uring, where the machine has it, what depends on the engine.
  [
    'npx',
    [
      'vitest',
      'run',
      'packages/backend-linux',
      'packages/nbd',
      'apps/daemon',
      'test/power-cuts-on-files.test.ts',
      ...notOfEngine,
    ],
    { RAIDKIT_ENGINE: 'uring' },
  ],
  // The same daemon with its volumes on two reactors.
  ['npx', ['vitest', 'run', ...onTwoReactors, '-t', `^(?!${leftOut})`], { RAIDKIT_ENGINE: 'uring', RAIDKIT_REACTORS: '2' }],
  // Everything on the portable engine, which has no reactors; what is simulated, three files at a time: some of it waits.
  ['npm', ['run', '--silent', 'test:unit', '--', '--project', 'simulated', '--maxWorkers', '3']],
  [
    'npm',
    ['run', '--silent', 'test:unit', '--', '--project', 'real', '--exclude', 'apps/daemon/test/reactors.test.ts'],
    { RAIDKIT_ENGINE: 'portable' },
  ],
  // The table of mutations fits the sources; trying them takes longer (`npm run mutate -- --sample 10`).
  ['npm', ['run', '--silent', 'mutate', '--', '--check']],
];
for (const [command, args, extra = {}] of steps) {
  console.log(`\n> ${[command, ...args, ...Object.values(extra)].join(' ')}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...env, ...extra } });
  if (status !== 0) process.exit(status ?? 1);
}
