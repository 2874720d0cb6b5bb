import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { ArrayNames, AssemblyOptions, SignatureFinder } from '../array/context.js';
import type { RegionLimits } from '../bitmap/region-size.js';
import type { SuperblockStore } from '../format/store.js';
import type { RaidModuleRegistry } from '../level/registry.js';
import type { MemberOptions } from '../members/host.js';

/** What `RaidArrays` is made of. */
export interface RaidArraysOptions {
  registry: BdevRegistry;
  modules: RaidModuleRegistry;
  /** Where superblocks are kept; without one, arrays have none and nothing is assembled. */
  store?: SuperblockStore;
  /** Default: 30,000 ms for an I/O, and a minute of grace. */
  members?: Partial<MemberOptions>;
  /** How arrays are divided into regions from now on; for tests. */
  regions?: Partial<RegionLimits>;
  /**
   * Bytes of buffer memory for checksums, taken while there is an array with integrity: at most a quarter of the memory, and less
   * where there is less in one piece. Default 64 MiB, which is for 30 GiB of data that is in use.
   */
  checksumCacheBytes?: number;
  /** Absent: devices are not looked at for what others keep there. */
  findSignature?: SignatureFinder;
  assembly?: Partial<AssemblyOptions>;
  /**
   * Whether a device that appears is looked at for a superblock; asked each time. One that is not still goes to the array that was
   * created with it by name, and to one to which it is added. Default: each is.
   */
  mayExamine?: (bdev: Bdev) => boolean;
  /** Whether the array of this uuid may be put together from what devices carry; asked each time. Default: each may. */
  mayAssemble?: (uuid: string) => boolean;
  /**
   * Whether what is on a device is known to be clients' data, whatever it looks like; asked each time. An array without superblocks
   * takes it then, also if it begins with one. Default: it is not known.
   */
  holdsData?: (bdev: Bdev) => boolean;
  /** Whether reads that lie wholly on one member may go there without a request of the level's; for comparison. Default: true. */
  routesReads?: boolean;
  /** Whether writes that follow one another may come to a level with parity as one; for comparison. Default: true. */
  gathersWrites?: boolean;
  /** Default: arrays of this registry have only each other to agree with. */
  census?: ArrayNames;
}
