import type { Bdev, BdevDescriptor, BdevRegistry } from '@raidkit/bdev';
import type { RaidArray, RaidArrayHost } from './array.js';
import type { ResyncExclusion } from '../sync/resync-exclusion.js';
import type { RaidModuleRegistry } from '../level/registry.js';
import type { ProcessOptions } from '../sync/task.js';
import type { RaidIoPool } from '../level/raid-io.js';
import type { Retries } from './retries.js';
import type { SumsMemory } from '../checksums/sums-memory.js';
import type { SuperblockStore } from '../format/store.js';

/** Whether and when arrays that are assembled from superblocks start automatically. */
export interface AssemblyOptions {
  /**
   * `auto` (default): they start automatically. `manual`: they start only through `startDegraded`. `readOnly`: they start
   * automatically and read-only; their members are opened for reading, may be read-only devices, and are not written to.
   */
  start: 'auto' | 'manual' | 'readOnly';
  /**
   * Milliseconds to wait for a device that the superblock records as absent, when all other members are available: its own
   * superblock may be newer. Default 1000; 0 for no wait.
   */
  absentWaitMs: number;
  /**
   * Milliseconds after which an array starts without members that have not appeared, if its level can do without them and no
   * data is at risk. Members that may have continued without the others, such as a copy of a mirror, are waited for without
   * limit. Default 0: no such start, as in SPDK.
   */
  degradedStartMs: number;
}

/** Whether the array's members are opened for reading only. */
export function isOnlyRead(ctx: RaidContext, array: RaidArray): boolean {
  return array.isAssembled && ctx.assemblyOptions.start === 'readOnly';
}

/**
 * Returns a description of what other software keeps on a device, such as `an ext4 file system`, or null. Rejects if the device
 * cannot be read.
 */
export type SignatureFinder = (descriptor: BdevDescriptor) => Promise<string | null>;

/** Keeps names and uuids of arrays unique across several registries of a process. */
export interface ArrayNames {
  /**
   * Called before an array is made. Returns null and reserves name and uuid until {@link leave}, or a message that says why the
   * array must not be made.
   */
  enter(name: string, uuid: string): string | null;
  /**
   * Called before an array is renamed. Returns null and reserves the new name, or a message that says why it must not be
   * renamed.
   */
  rename(from: string, to: string): string | null;
  /** Called when the array is gone. Releases its name and uuid. */
  leave(name: string, uuid: string): void;
}

/** State that the parts of array management share. `RaidArrays` creates it. */
export interface RaidContext extends RaidArrayHost {
  readonly registry: BdevRegistry;
  readonly modules: RaidModuleRegistry;
  /** Null if no array has superblocks and none is assembled. */
  readonly store: SuperblockStore | null;
  /** See {@link SignatureFinder}. Absent: nothing is looked for. */
  readonly findSignature?: SignatureFinder;
  readonly ios: RaidIoPool;
  readonly sumsMemory: SumsMemory;
  /** All arrays. Their names and uuids are reserved in {@link arrayNames}. */
  readonly arrays: ReadonlyMap<string, RaidArray>;
  /** Lists the array by its name. */
  list(array: RaidArray): void;
  /** Removes what is listed by this name. */
  unlist(name: string): void;
  readonly arrayNames: ArrayNames;
  readonly processOptions: ProcessOptions;
  readonly assemblyOptions: AssemblyOptions;
  readonly resyncExclusion: ResyncExclusion;
  /** Timers for retries. They stop with the service: code must check that after each await. */
  readonly retries: Retries;
  /** Notes that the device was not examined because it is claimed. */
  passOver(bdev: Bdev): void;
  /** Forgets that the device was passed over. Returns whether it was. */
  forgetPassedOver(bdev: Bdev): boolean;
  /** Whether a device that no operator has named may be read to look for a superblock. */
  mayExamine(bdev: Bdev): boolean;
  /** Whether the array of this uuid may be assembled. */
  mayAssemble(uuid: string): boolean;
  /** Whether the device is known to hold clients' data, whatever its contents look like. */
  holdsData(bdev: Bdev): boolean;
  /**
   * Called when a member has been filled or was refused. Examines again the devices that could not be accepted because of it,
   * former members first, then spares.
   */
  onPlaceFree(array: { readonly name: string }): void;
  /** Lets spares fill the empty slots of the array, now or after the grace period. */
  fillFromSpares(array: RaidArray): void;
  /** Examines the device after a delay (by default a fixed one), repeatedly until it succeeds. */
  examineLater(bdev: Bdev, afterMs?: number): void;
}
