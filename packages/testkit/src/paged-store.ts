import type { ExtensionStore, SuperblockStore } from '@raidkit/core';

/** Number of pages that are before the data, whatever its offset. */
const mostPages = 16;

/** Returns a store whose lists of bad blocks have room for only a few ranges. */
export function shortListStore(store: SuperblockStore, mostBadRanges: number): SuperblockStore {
  const { extension } = store;
  return extension === undefined ? store : { ...store, extension: { ...extension, mostBadRanges } };
}

/** Returns a store whose pages hold so few regions that even small arrays have several pages. */
export function pagedStore(store: SuperblockStore, regionsPerPage: number): SuperblockStore {
  const { extension } = store;
  if (extension === undefined) return store;
  const inWholePages = (numRegions: number): number => Math.ceil(numRegions / regionsPerPage) * extension.regionsPerPage;
  const paged: ExtensionStore = {
    ...extension,
    regionsPerPage,
    fits: (blockSize, numRegions) => numRegions <= mostPages * regionsPerPage && extension.fits(blockSize, numRegions),
    readPages: (descriptor, life, numRegions) => extension.readPages(descriptor, life, inWholePages(numRegions)),
  };
  return { ...store, extension: paged };
}
