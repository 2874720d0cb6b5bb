import { Status } from '@raidkit/bdev';
import { summedBytes } from '../checksums/area.js';
import { RaidError } from '../errors.js';
import type { MappedHost } from './mapped-host.js';
import { chooseRegionBlocks } from './region-size.js';
import { RegionState } from './region-state.js';
import { WriteIntentBitmap } from './write-intent-bitmap.js';

/**
 * Makes a map for an online array without redundancy that is getting checksums. Resolves when all members have it on stable
 * media with all regions dirty, in both places of each page, and with higher generations than pages of an earlier map. It
 * becomes valid when a header records checksums.
 */
export async function layMap(array: MappedHost): Promise<WriteIntentBitmap> {
  const { blockSize, extension, geometry, name } = array;
  if (extension === undefined)
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${name}: there is no room for a write-intent bitmap`);
  const blocks = Math.max(...geometry.memberBlocks);
  const stripeBlocks = geometry.stripe?.memberBlocks ?? summedBytes / blockSize;
  const regionBlocks = chooseRegionBlocks(array.regionLimits, { memberBlocks: blocks, stripeBlocks, blockSize }, (count) =>
    array.hasRoomForRegions(count),
  );
  const bitmap = new WriteIntentBitmap(array, extension, Math.ceil(blocks / regionBlocks), regionBlocks);
  const numRegions = bitmap.states.length;
  if (!array.hasRoomForRegions(numRegions))
    throw new RaidError(
      'ERR_RAID_INVALID',
      Status.Invalid,
      `array ${name}: there is no room in front of its data for a write-intent bitmap of ${numRegions} regions`,
    );
  for (let region = 0; region < numRegions; region++) bitmap.set(region, RegionState.Dirty);
  const newest = new Map<number, number>();
  for (const slot of array.slots) {
    if (slot.descriptor === null) continue;
    slot.partBegan();
    try {
      for (const { generation, index } of await extension.readPages(slot.descriptor, array, numRegions))
        newest.set(index, Math.max(generation, newest.get(index) ?? 0));
    } finally {
      slot.partEnded();
    }
  }
  for (const [index, generation] of newest) bitmap.continueFrom(index, generation);
  for (let place = 0; place < 2; place++) await bitmap.writeAll();
  return bitmap;
}
