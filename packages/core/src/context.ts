import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { RaidArray, RaidArrayHost } from './array.js';
import type { RaidModuleRegistry } from './module-registry.js';
import type { ProcessOptions } from './process.js';
import type { RaidIoPool } from './raid-io.js';
import type { SuperblockStore } from './store.js';

/** What the parts of array management share. Made by `RaidArrays`. */
export interface RaidContext extends RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly modules: RaidModuleRegistry;
  /** Null: no array has superblocks, and none is assembled from them. */
  readonly store: SuperblockStore | null;
  readonly ios: RaidIoPool;
  readonly arrays: Map<string, RaidArray>;
  readonly processOptions: ProcessOptions;
  /** Has the device examined after a while; again and again until it can be. */
  examineLater(bdev: Bdev): void;
}
