import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { encodeSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area. */
const dataAt = 2048;

type Images = (Uint8Array | null)[];

function imagesOf(disks: readonly (RamDisk | null)[]): Images {
  return disks.map((disk) => disk?.bytes.slice() ?? null);
}

/** SPDK runs the array once: the superblock's number is one more, and nothing else of ours is touched. */
function spdkOpens(
  disks: readonly (RamDisk | null)[],
  write: (bytes: Uint8Array, index: number) => void = () => undefined,
): Images {
  return disks.map((disk, index) => {
    if (disk === null) return null;
    const bytes = disk.bytes.slice();
    const superblock = superblockOf(disk);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    write(bytes, index);
    return bytes;
  });
}

async function start(images: Images, rig: Rig = newRig()): Promise<{ rig: Rig; disks: (RamDisk | null)[] }> {
  const disks: (RamDisk | null)[] = [];
  for (const [index, bytes] of images.entries()) {
    disks.push(
      bytes === null ? null : (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk,
    );
  }
  await rig.registry.waitForExamine();
  return { rig, disks };
}

async function seen(volume: BlockClient, offsets: readonly number[]): Promise<(number | string)[]> {
  const results: (number | string)[] = [];
  for (const offset of offsets) {
    results.push(
      await volume.read(offset, 1).then(
        ([byte]) => byte ?? -1,
        (error: unknown) => (String(error).includes('EIO') ? 'EIO' : String(error)),
      ),
    );
  }
  return results;
}

/** Runs so many turns that everything that can happen has happened. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * A raid5f of three without slot 1 that crashes in the middle of a write to its first block: slot 0 has it, the parity on slot 2
 * has not. Block 32 is the absent member's in the same columns.
 */
async function crashedWithoutSlot1(): Promise<(RamDisk | null)[]> {
  const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
  await volume.write(0, blocks(4096, 1));
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(64, blocks(64, 5));
  disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataAt ? null : Status.Ok);
  void volume.write(0, blocks(1, 2)).catch(() => undefined);
  await until(() => disks[2]!.held.length > 0, 'the parity is held back');
  await turns();
  expect(disks[0]!.bytes[dataAt * 512]).toBe(2);
  return [disks[0]!, null, disks[2]!];
}

describe('after another program ran a mirror', () => {
  for (const how of ['killed', 'stopped cleanly'] as const) {
    it(`what it wrote is there at the second start too (${how} in the first resync)`, async () => {
      const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 8 });
      await volume.write(0, blocks(8, 1));
      volume.descriptor.close();
      await rig.arrays.stop();
      const second = newRig();
      second.arrays.setProcessOptions({ maxBandwidthMbSec: 1 });
      const opened = spdkOpens(disks, (bytes) => bytes.fill(0x5a, 5 * MiB, 5 * MiB + 4096));
      const { disks: plugged } = await start(opened, second);
      const there = openVolume(second, 'a');
      expect(await seen(there, [8192])).toEqual([0x5a]);
      there.descriptor.close();
      const images = how === 'killed' ? imagesOf(plugged) : await second.arrays.stop().then(() => imagesOf(plugged));
      const third = await start(images);
      const again = openVolume(third.rig, 'a');
      expect(await seen(again, [8192])).toEqual([0x5a]);
      await again.write(8192 + 64, blocks(1, 9));
      expect(await seen(again, [8192, 8192 + 64])).toEqual([0x5a, 9]);
    });
  }
});

describe('after a crash without a member, and another program that merely opened the array', () => {
  it('the stripe that was being written answers EIO, and all the rest is there', async () => {
    const { rig, disks } = await start(spdkOpens(await crashedWithoutSlot1()));
    const volume = openVolume(rig, 'a');
    expect(await seen(volume, [0, 32, 64, 96, 224])).toEqual([2, 'EIO', 5, 5, 1]);
    // A write of the whole stripe makes it consistent.
    await volume.write(0, blocks(64, 7));
    expect(await seen(volume, [0, 32])).toEqual([7, 7]);
    await until(() => arrayOf(rig, 'a').journal!.slots[0] === 1, 'journaled again');
    const again = await start(imagesOf(disks));
    expect(await seen(openVolume(again.rig, 'a'), [0, 32, 64, 96])).toEqual([7, 7, 5, 5]);
  });

  it('what another program has written over it since is not replaced by what the journal says', async () => {
    const opened = spdkOpens(await crashedWithoutSlot1(), (bytes, index) => {
      // A whole stripe of nines: slot 1, which is absent, would hold them too.
      bytes.fill(index === 0 ? 9 : 0, dataAt * 512, (dataAt + 32) * 512);
    });
    const { rig } = await start(opened);
    const volume = openVolume(rig, 'a');
    const [own, absent] = await seen(volume, [0, 32]);
    expect(own).toBe(9);
    expect([9, 'EIO']).toContain(absent);
    expect(await seen(volume, [224])).toEqual([1]);
  });

  it('what he has written over data that was journaled is there, if we had stopped cleanly before', async () => {
    const { rig, disks, volume } = await build('raid5f', 3, { mebibytes: 2 });
    await volume.write(0, blocks(4096, 1));
    await rig.arrays.removeBaseBdev('m1');
    // Entries for the absent member's block 32.
    await volume.write(32, blocks(8, 2));
    volume.descriptor.close();
    await rig.arrays.stop();
    const opened = spdkOpens([disks[0]!, null, disks[2]!], (bytes, index) => {
      // Stripe 0 has its parity on slot 2: ones on slot 0, and eights on slot 1.
      bytes.fill(index === 0 ? 1 : 1 ^ 8, dataAt * 512, (dataAt + 32) * 512);
    });
    const again = await start(opened);
    if (again.rig.arrays.get('a')?.state !== 'online') await again.rig.arrays.startDegraded('a');
    expect(await seen(openVolume(again.rig, 'a'), [0, 32, 63, 64])).toEqual([1, 8, 8, 1]);
  });

  it('without a journal it is started only by force, and then all that was being written answers EIO', async () => {
    // All members were there at the crash; the other program lost slot 1 afterwards.
    const { disks, volume } = await build('raid5f', 3, { mebibytes: 4 });
    await volume.write(0, blocks(64, 1));
    await volume.flush();
    const opened = spdkOpens([disks[0]!, null, disks[2]!]);
    const { rig } = await start(opened);
    await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/not stopped cleanly/);
    await rig.arrays.startDegraded('a', { force: true });
    const again = openVolume(rig, 'a');
    expect(await seen(again, [0, 32, 4096 + 32])).toEqual([1, 'EIO', 0]);
  });

  it('with our own record gone nothing is proven, and it is started only by force', async () => {
    const images = imagesOf(await crashedWithoutSlot1());
    for (const bytes of images) bytes?.fill(0, 64 * 1024, 256 * 1024);
    const { rig } = await start(images);
    await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/not stopped cleanly/);
    await rig.arrays.startDegraded('a', { force: true });
    const volume = openVolume(rig, 'a');
    expect(await seen(volume, [0, 32, 64, 224])).toEqual([2, 'EIO', 5, 'EIO']);
    rig.arrays.trustRedundancy('a');
    expect(await seen(volume, [224])).toEqual([1]);
  });
});

describe('an array that is created', () => {
  it('leaves nothing of an earlier life on its members', async () => {
    for (const level of ['raid0', 'raid1']) {
      const rig = newRig();
      const disks: RamDisk[] = [];
      for (const index of [0, 1]) {
        const bytes = new Uint8Array(4 * MiB).fill(0xee, 64 * 1024, MiB);
        disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
      }
      const strip = level === 'raid0' ? { stripSizeKb: 16 } : {};
      await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1'], superblock: true, ...strip });
      for (const { bytes } of disks) {
        // The test looks for a run of bytes, because checksums and incarnations may have any byte.
        const rest = Buffer.alloc(64, 0xee);
        expect(Buffer.from(bytes.subarray(104 * 1024 + 4096, 256 * 1024)).includes(rest)).toBe(false);
        expect(Buffer.from(bytes.subarray(512 * 1024, MiB)).includes(rest)).toBe(false);
      }
    }
  });
});
