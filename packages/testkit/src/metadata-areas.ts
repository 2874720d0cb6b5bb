import { sectorBytes } from './sector.js';
import type { SimDisk } from './sim-disk.js';

/** Metadata areas of a member before its data: start and end in KiB. */
export const metadataAreas = {
  superblock: [0, 17],
  'second superblock': [32, 49],
  header: [64, 76],
  'other header': [96, 108],
  'write-intent bitmap': [128, 256],
  'bad blocks': [256, 384],
  doubt: [384, 416],
  journal: [512, 1024],
} as const satisfies Record<string, readonly [number, number]>;

export type MetadataArea = keyof typeof metadataAreas;

/** Returns the sectors in `[from, end)` that have been written: that hold other bytes than zeros and the fill. */
export function sectorsInUse(disk: SimDisk, from: number, end: number): number[] {
  const bytes = new Uint8Array(sectorBytes);
  const found: number[] = [];
  for (let sector = from; sector < end; sector++) {
    disk.media.read(bytes, 0, sector * sectorBytes, sectorBytes);
    if (bytes.some((byte) => byte !== 0 && byte !== 0xdb)) found.push(sector);
  }
  return found;
}
