import { join } from 'node:path';
import { build } from 'esbuild';
import { mutated, pathOf, root } from './sources.mjs';

/** Bundles the worker with the sources as they are, or, for the mutation, with its line replaced on the way: no file changes. */
export async function bundle(outfile, mutation = null) {
  const plugins = [];
  if (mutation !== null) {
    const contents = await mutated(mutation);
    const path = pathOf(mutation);
    let isIn = false;
    plugins.push({
      name: 'mutation',
      setup(run) {
        run.onLoad({ filter: /\.ts$/ }, (file) => {
          if (file.path !== path) return undefined;
          isIn = true;
          return { contents, loader: 'ts' };
        });
        run.onEnd(() => {
          if (!isIn)
            throw new Error(`${mutation.id}: packages/${mutation.file} is not part of the simulation; say which suites run it`);
        });
      },
    });
  }
  await build({
    absWorkingDir: root,
    entryPoints: [join(import.meta.dirname, 'worker.mjs')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['@raidkit/source'],
    logLevel: 'silent',
    plugins,
  });
}
