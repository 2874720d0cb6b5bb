import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig } from '../../../test/support/rig.js';

it('no region is called clean while the failure of a member that lost its writes is not on record', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 7));
  volume.descriptor.close();
  // The stop's flush fails on m1, which loses what was in its cache; and m0 takes no superblock that says so.
  disks[1]!.fault = (io) => (io.type === IoType.Flush ? Status.IoError : Status.Ok);
  disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks < 256 ? Status.IoError : Status.Ok);
  await rig.arrays.stop().catch(() => undefined);
  const images = disks.map((disk) => disk.bytes.slice());
  images[1]!.fill(0, 1 << 20, (1 << 20) + 8 * 512);
  const again = newRig();
  for (const [index, bytes] of images.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.numInSync).toBe(2);
  await array.processEnded;
  expect(images[1]!.slice(1 << 20, (1 << 20) + 8 * 512)).toEqual(images[0]!.slice(1 << 20, (1 << 20) + 8 * 512));
  expect(images[0]![1 << 20]).toBe(7);
});
