/** How an array is divided into regions. The defaults are for production; tests use others to make small arrays look huge. */
export interface RegionLimits {
  /** Size of the smallest region in bytes of a member. */
  leastBytes: number;
  /**
   * Most bytes of a member that a first write should have to zero. Regions are larger only if there is no room for more of
   * them, and such regions do not become unwritten again.
   */
  zeroBytes: number;
  /** Most groups of a new map. Up to this many regions, each region is a group of its own. */
  mostGroups: number;
  /** Most regions of a new map. If members are larger than `zeroBytes` times this, regions are larger. */
  mostRegions: number;
}

export const defaultRegionLimits: RegionLimits = {
  leastBytes: 1024 * 1024,
  zeroBytes: 4 * 1024 * 1024,
  mostGroups: 65_536,
  mostRegions: 8 * 1024 * 1024,
};

/** A map with more regions than groups gets room for this many times as many, because a growing array keeps its region size. */
const growthFactor = 4;

/**
 * Returns the size of a region in blocks for members of this size: a power of two of stripes. `hasRoom` returns whether all
 * members have room for a map of a number of regions.
 */
export function chooseRegionBlocks(
  { leastBytes, mostGroups, mostRegions, zeroBytes }: RegionLimits,
  members: { memberBlocks: number; stripeBlocks: number; blockSize: number },
  hasRoom: (numRegions: number) => boolean,
): number {
  const { blockSize, memberBlocks, stripeBlocks } = members;
  for (let blocks = stripeBlocks; ; blocks *= 2) {
    const numRegions = Math.ceil(memberBlocks / blocks);
    const bytes = blocks * blockSize;
    if (bytes < leastBytes) continue;
    if (numRegions <= mostGroups) return blocks;
    if (bytes >= zeroBytes && numRegions <= mostRegions && hasRoom(growthFactor * numRegions)) return blocks;
  }
}

/**
 * Returns the number of regions that a member of this size should have room for in front of its data; 0 if the usual room is
 * enough.
 */
export function regionsToReserve({ mostGroups, mostRegions, zeroBytes }: RegionLimits, memberBytes: number): number {
  let bytes = zeroBytes;
  while (memberBytes > mostRegions * bytes) bytes *= 2;
  const numRegions = Math.ceil(memberBytes / bytes);
  return numRegions <= mostGroups ? 0 : growthFactor * numRegions;
}
