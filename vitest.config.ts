import { defineConfig } from 'vitest/config';

const conditions = ['@raidkit/source', 'node', 'import', 'default'];
/** Of the daemon, what does not depend on how its I/O reaches the kernel, and what says itself which engine it wants. */
const beside =
  'allow-list,batches,comes-up,configuration,dashboard,engine,events,exposure,http-api,http-places,interrupted-calls,json-stream,kernel-attachments,lasting-counts,level-claims,lying-disks,metrics,open-rpc,read-only-socket,refusals,renew-tls,scan,schedule,signals,small-methods,tls,watchdog';
/** On simulated disks. (Time limits of some ten milliseconds want a processor of their own.) */
const simulated = [
  'packages/{bdev,superblock,testkit,concat,raid*}/test/**/*.test.ts',
  'packages/core/test/!(stuck-member).test.ts',
  'test/!(container-image|debian-package|examples|packages|power-cuts-on-files).test.ts',
];
const reactors = ['apps/daemon/test/reactors.test.ts'];
const engine = [
  'packages/{backend-linux,nbd}/test/**/*.test.ts',
  `apps/daemon/test/!(reactors|${beside.replaceAll(',', '|')}).test.ts`,
  'test/power-cuts-on-files.test.ts',
];
const all = ['packages/*/test/**/*.test.ts', 'apps/*/test/**/*.test.ts', 'test/**/*.test.ts', 'benchmarks/test/**/*.test.ts'];

const patient = { testTimeout: 180_000, hookTimeout: 180_000 };
const usual = { testTimeout: 60_000, hookTimeout: 60_000 };

/** `simulated`: several files may run at once. `reactors`, `engine`: what depends on the I/O engine. `others`: the rest. */
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    pool: 'forks',
    // What is waited for with expect.poll has more than a second on a slow machine.
    expect: { poll: { timeout: 40_000 } },
    setupFiles: ['./test/support/compare-bytes.ts'],
    reporters: ['default', './scripts/count-reporter.ts'],
    projects: [
      { extends: true, test: { name: 'simulated', include: simulated, ...patient } },
      { extends: true, test: { name: 'reactors', include: reactors, ...usual } },
      { extends: true, test: { name: 'engine', include: engine, ...usual } },
      { extends: true, test: { name: 'others', include: all, exclude: [...simulated, ...reactors, ...engine], ...usual } },
    ],
  },
});
