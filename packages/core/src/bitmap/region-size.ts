/** How an array is divided into regions. The defaults are for production; tests make small arrays look like huge ones. */
export interface RegionLimits {
  /** Smallest region. Bytes of a member. */
  leastBytes: number;
  /**
   * The most that a first write should have to give zeros to. Regions are larger only where there is no room for more of
   * them; such regions do not become unwritten again. Bytes of a member.
   */
  zeroBytes: number;
  /** Groups of an array at most, when its map is made. Up to so many regions there is one a group. */
  mostGroups: number;
  /** Regions of an array at most, when its map is made. Members of more than `zeroBytes` times this have larger ones. */
  mostRegions: number;
}

export const defaultRegionLimits: RegionLimits = {
  leastBytes: 1024 * 1024,
  zeroBytes: 4 * 1024 * 1024,
  mostGroups: 65_536,
  mostRegions: 8 * 1024 * 1024,
};

/** A map of more regions than groups has room for so many times as many: an array that grows keeps its region size. */
const growthFactor = 4;

/**
 * Size of a region for members of this many blocks, in blocks: whole stripes, a power of two of them. `hasRoom` says whether
 * all members have room for a map of so many regions.
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

/** For how many regions a member of this size should have room in front of its data. */
export function regionsToReserve({ mostGroups, mostRegions, zeroBytes }: RegionLimits, memberBytes: number): number {
  let bytes = zeroBytes;
  while (memberBytes > mostRegions * bytes) bytes *= 2;
  const numRegions = Math.ceil(memberBytes / bytes);
  return numRegions <= mostGroups ? 0 : growthFactor * numRegions;
}
