// The repository's suites, with one line of the sources replaced on the way to them.
import process from 'node:process';
import { readFile } from 'node:fs/promises';
import { defineConfig } from 'vitest/config';

const conditions = ['@raidkit/source', 'node', 'import', 'default'];
const { path, contentsIn } = JSON.parse(process.env.RAIDKIT_MUTATION ?? '{}');

export default defineConfig({
  plugins: [
    {
      name: 'mutation',
      enforce: 'pre',
      load: (id) => (id.split('?')[0] === path ? readFile(contentsIn, 'utf8') : null),
    },
  ],
  cacheDir: process.env.RAIDKIT_MUTATION_CACHE,
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    pool: 'forks',
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
