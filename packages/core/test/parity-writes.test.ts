import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { arrayOf } from '../../../test/support/rig.js';

// Stripe 0 has its parity on m3; a write of 14 blocks from block 7 on is cut into three rectangles.
for (const failing of [0, 1, 2, 3]) {
  for (const nth of [1, 2]) {
    it(`raid5f: a write whose part ${nth} on m${failing} fails is carried out to its end on the others`, async () => {
      const { rig, disks, volume } = await build('raid5f', 4, { stripSizeKb: 4 });
      await volume.write(0, blocks(24, 1));
      let writes = 0;
      disks[failing]!.fault = (io) =>
        io.type === IoType.Write && io.offsetBlocks >= 2048 && ++writes === nth ? Status.IoError : Status.Ok;
      await volume.write(7, blocks(14, 2));
      // If there was such a part, its failure has removed the member.
      expect(arrayOf(rig, 'a').slots[failing]!.isInSync).toBe(writes < nth);
      const seen = await volume.read(0, 24);
      expect(Array.from({ length: 24 }, (_, block) => seen[block * 512])).toEqual(
        Array.from({ length: 24 }, (_, block) => (block < 7 || block >= 21 ? 1 : 2)),
      );
      volume.descriptor.close();
    });
  }
}
