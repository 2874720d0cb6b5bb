import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { ArrayNames, AssemblyOptions, SignatureFinder } from '../array/context.js';
import type { RegionLimits } from '../bitmap/region-size.js';
import type { SuperblockStore } from '../format/store.js';
import type { RaidModuleRegistry } from '../level/registry.js';
import type { MemberOptions } from '../members/host.js';

/** Parameters of `RaidArrays`. */
export interface RaidArraysOptions {
  /** The registry of bdevs that members come from and volumes are registered in. */
  registry: BdevRegistry;
  /** The levels that arrays can be created with or assembled for. */
  modules: RaidModuleRegistry;
  /** Reads and writes superblocks. Without a store, arrays have no superblocks and none is assembled. */
  store?: SuperblockStore;
  /** Default: an I/O timeout of 30,000 ms, and a grace period of 60,000 ms. */
  members?: Partial<MemberOptions>;
  /** How arrays are divided into regions from now on; for tests. */
  regions?: Partial<RegionLimits>;
  /**
   * Bytes of buffer memory for checksums, allocated while there is an array with integrity. At most a quarter of the memory is
   * used, and less if no contiguous piece is large enough. Default 64 MiB, which is enough for a working set of 30 GiB.
   */
  checksumCacheBytes?: number;
  /** Detects data of other software on devices. Absent: none is detected. */
  findSignature?: SignatureFinder;
  /** How arrays are assembled. See {@link AssemblyOptions} for the defaults. */
  assembly?: Partial<AssemblyOptions>;
  /**
   * Whether to read a new device to look for a superblock; called for each device. A device that is not read can still join an
   * array that was created with its name, or to which it is added. Default: all are read.
   */
  mayExamine?: (bdev: Bdev) => boolean;
  /** Whether the array of this uuid may be assembled from its members; called each time. Default: all may. */
  mayAssemble?: (uuid: string) => boolean;
  /**
   * Whether a device is known to hold clients' data, whatever its contents look like; called each time. An array without
   * superblocks then accepts it even if it begins with a superblock. Default: unknown.
   */
  holdsData?: (bdev: Bdev) => boolean;
  /** Whether core may send reads that lie on one member without a request to the level. For comparisons. Default true. */
  routesReads?: boolean;
  /** Whether core may merge consecutive writes for levels with parity. For comparisons. Default true. */
  gathersWrites?: boolean;
  /** Keeps array names and uuids unique beyond this registry. Default: they are unique within the registry only. */
  arrayNames?: ArrayNames;
}
