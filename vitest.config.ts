import { defineConfig } from 'vitest/config';

const conditions = ['@raidkit/source', 'node', 'import', 'default'];
const all = ['packages/*/test/**/*.test.ts', 'apps/*/test/**/*.test.ts', 'test/**/*.test.ts', 'benchmarks/test/**/*.test.ts'];
/** In simulated time and on simulated disks: several files may run at once. */
const simulated = [
  'packages/{bdev,core,superblock,testkit,concat,raid*}/test/**/*.test.ts',
  'test/!(debian-package|examples|packages|power-cuts-on-files).test.ts',
];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    pool: 'forks',
    reporters: ['default', './scripts/count-reporter.ts'],
    projects: [
      { extends: true, test: { name: 'simulated', include: simulated, testTimeout: 180_000, hookTimeout: 180_000 } },
      // Sockets, files, processes and real clocks: one file at a time (`maxWorkers` is one where there are two cores).
      { extends: true, test: { name: 'real', include: all, exclude: simulated, testTimeout: 60_000, hookTimeout: 60_000 } },
    ],
  },
});
