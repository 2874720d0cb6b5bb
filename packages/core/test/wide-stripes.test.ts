import { expect, it } from 'vitest';
import { taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume } from '../../../test/support/rig.js';

const strip = 8;

it.each([130, 200, 255])('raid5f of %i without a member writes nearly a whole stripe at once', async (members) => {
  const rig = newRig({ memoryBytes: 128 << 20 });
  for (let index = 0; index < members; index++) {
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(2 * strip * 512) });
  }
  await rig.arrays.create({
    name: 'a',
    level: 'raid5f',
    baseBdevs: Array.from({ length: members }, (_, index) => `m${index}`),
    stripSizeKb: 4,
  });
  const volume = openVolume(rig, 'a');
  const stripe = (members - 1) * strip;
  await volume.write(0, taggedBlocks(0, 2 * stripe, 1, 512));
  // The last of the first stripe's data; the parity is then made from the old and the new of all that is written.
  await rig.arrays.removeBaseBdev(`m${members - 2}`);
  await volume.write(0, taggedBlocks(0, stripe - strip, 2, 512));
  expect(tagsOf(await volume.read(0, stripe), 0, 512, 'afterwards')).toEqual([
    ...Array<number>(stripe - strip).fill(2),
    ...Array<number>(strip).fill(1),
  ]);
  expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
});
