import type { Options } from 'tsup';

/** What every package's build has in common; a package names its entries and nothing else. */
export function packageBuild(entries: string[]): Options {
  return {
    entry: entries,
    format: ['esm'],
    target: 'node20',
    platform: 'node',
    removeNodeProtocol: false,
    sourcemap: true,
    // The sources are in the package.
    esbuildOptions(options) {
      options.sourcesContent = false;
    },
    clean: true,
    // tsup injects `baseUrl`, which TypeScript 6 rejects unless told that it is deprecated.
    // What is for the package's own parts alone is marked `@internal`, and not in its types.
    dts: { compilerOptions: { ignoreDeprecations: '6.0', customConditions: [], stripInternal: true } },
  };
}
