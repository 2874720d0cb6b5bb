import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume } from '../../../test/support/rig.js';

it('what an array of the same uuid left on its members says nothing of the array that was forced over it', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  const { uuid } = arrayOf(rig, 'a');
  // Each first write to a region writes its page anew: what is left has a higher generation than what comes.
  for (let region = 0; region < 6; region++) await volume.write(region * 2048, blocks(8, 7));
  volume.descriptor.close();
  await rig.arrays.delete('a');
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, uuid, force: true });
  const fresh = openVolume(rig, 'a');
  expect(await fresh.read(0, 8)).toEqual(blocks(8, 0));
  // This is a crash.
  const again = newRig();
  for (const [index, disk] of disks.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disk.bytes.slice() });
  await again.registry.waitForExamine();
  expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 0));
  const { incarnation } = arrayOf(again, 'a');
  expect(incarnation).toBe(arrayOf(rig, 'a').incarnation);
  expect(incarnation).toMatch(/^(?!0{16})[0-9a-f]{16}$/);
});
