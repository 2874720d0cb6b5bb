import type { Bdev, BdevDescriptor, BdevRegistry } from '@raidkit/bdev';
import type { RaidArray, RaidArrayHost } from './array.js';
import type { ResyncExclusion } from '../sync/resync-exclusion.js';
import type { RaidModuleRegistry } from '../level/registry.js';
import type { ProcessOptions } from '../sync/task.js';
import type { RaidIoPool } from '../level/raid-io.js';
import type { Retries } from './retries.js';
import type { SumsMemory } from '../checksums/sums-memory.js';
import type { SuperblockStore } from '../format/store.js';

/** Whether and when arrays that are assembled from superblocks start by themselves. */
export interface AssemblyOptions {
  /**
   * `auto`, the default: by themselves. `manual`: when `startDegraded` says so. `readOnly`: by themselves, for reading: their
   * members are opened for reading alone, may be read-only devices, and nothing is written to them.
   */
  start: 'auto' | 'manual' | 'readOnly';
  /**
   * Milliseconds that a device which the superblock counts out is waited for before the others, all there, are started: it
   * may know better. Default 1000; 0 for not at all.
   */
  absentWaitMs: number;
  /**
   * Milliseconds after which an array is started without members that have not come, if the level can do without them and
   * no data is in danger. Members that may have gone on by themselves, as a mirror's copy may, are waited for for ever.
   * Default 0: never, as in SPDK.
   */
  degradedStartMs: number;
}

/** The array's members are opened for reading alone. */
export function isOnlyRead(ctx: RaidContext, array: RaidArray): boolean {
  return array.isAssembled && ctx.assemblyOptions.start === 'readOnly';
}

/** Says what another program keeps on a device: `an ext4 file system`; null for nothing. Rejects if it cannot be read. */
export type SignatureFinder = (descriptor: BdevDescriptor) => Promise<string | null>;

/** Keeps arrays' names and uuids apart beyond one registry, for a process that has several. */
export interface ArrayNames {
  /** An array is about to be. Says, for people, why it must not; null if it may, and then its name and uuid are its own until {@link leave}. */
  enter(name: string, uuid: string): string | null;
  /** It has another name from now on. Says why it must not; null if it may. */
  rename(from: string, to: string): string | null;
  /** It is no more. */
  leave(name: string, uuid: string): void;
}

/** What the parts of array management share. Made by `RaidArrays`. */
export interface RaidContext extends RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly modules: RaidModuleRegistry;
  /** Null: no array has superblocks, and none is assembled from them. */
  readonly store: SuperblockStore | null;
  /** What another program keeps on a device, for people; null if nothing is known to be there. */
  readonly findSignature?: SignatureFinder;
  readonly ios: RaidIoPool;
  readonly sumsMemory: SumsMemory;
  /** Every array that is in there has entered the census. */
  readonly arrays: Map<string, RaidArray>;
  readonly arrayNames: ArrayNames;
  readonly processOptions: ProcessOptions;
  readonly assemblyOptions: AssemblyOptions;
  readonly resyncExclusion: ResyncExclusion;
  /** What is tried again later. Stopped with the arrays: code that has awaited something asks whether they have been. */
  readonly retries: Retries;
  /** Devices that an examination has left alone because they were claimed. */
  readonly passedOver: WeakSet<Bdev>;
  /** Whether a device that no operator has named is read for a superblock. */
  mayExamine(bdev: Bdev): boolean;
  /** Whether the array of this uuid may be put together from what devices carry. */
  mayAssemble(uuid: string): boolean;
  /** Whether what is on the device is known to be clients' data, whatever it looks like. */
  holdsData(bdev: Bdev): boolean;
  /**
   * A member has been filled, or was refused: devices that were not taken because of that are looked at again, former members
   * first, then spares.
   */
  onPlaceFree(array: { readonly name: string }): void;
  /** Has spares take the places that are free for them now, or will be after a while. */
  fillFromSpares(array: RaidArray): void;
  /** Has the device examined, by default after a while; again and again until it can be. */
  examineLater(bdev: Bdev, afterMs?: number): void;
}
