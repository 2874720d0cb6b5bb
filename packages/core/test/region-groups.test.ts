import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
/** First block of a member's data area. */
const dataAt = 2048;
/** Pages of the write-intent bitmap, in blocks of a member. */
const pagesAt = 256;
const pagesEnd = 512;

/** 64 regions of 16 KiB, 16 of them in a group. */
const regions = { leastBytes: 16 * 1024, zeroBytes: 16 * 1024, mostGroups: 4 };
const regionBlocks = 32;

async function plugAll(rig: Rig, images: readonly Uint8Array[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  await rig.registry.waitForExamine();
  return disks;
}

async function mirror(): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig({ regions });
  const disks = await plugAll(rig, [new Uint8Array(2 * MiB).fill(0xee), new Uint8Array(2 * MiB).fill(0xee)]);
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true, force: true });
  expect(arrayOf(rig, 'a').bitmap?.groupRegions).toBe(16);
  return { rig, disks };
}

it('a read over whole groups of regions finds the one region in them that was written', async () => {
  const { rig } = await mirror();
  const volume = openVolume(rig, 'a');
  await volume.write(20 * regionBlocks, blocks(1, 7));
  const expected = blocks(48 * regionBlocks, 0);
  expected.fill(7, 20 * regionBlocks * 512, (20 * regionBlocks + 1) * 512);
  const seen = await volume.read(0, 48 * regionBlocks);
  expect(Buffer.compare(seen, expected)).toBe(0);
});

it('what lies before and behind an unmapped region of a group is there at the next start', async () => {
  const { rig, disks } = await mirror();
  const volume = openVolume(rig, 'a');
  for (const region of [20, 21, 22]) await volume.write(region * regionBlocks, blocks(regionBlocks, region));
  await volume.unmap(21 * regionBlocks, regionBlocks);
  volume.descriptor.close();
  await rig.arrays.stop();
  const next = newRig({ regions });
  await plugAll(
    next,
    disks.map(({ bytes }) => bytes.slice()),
  );
  const again = openVolume(next, 'a');
  for (const [region, fill] of [
    [20, 20],
    [21, 0],
    [22, 22],
  ] as const)
    expect(await again.read(region * regionBlocks, regionBlocks)).toEqual(blocks(regionBlocks, fill));
});

it('a region of which one member alone says that it is clean is recorded as dirty again before it is written', async () => {
  const rig = newRig();
  const { runtime } = rig.registry;
  // The five seconds after which a region is made clean pass at once, one time.
  const passing = { skewMs: 0, isOver: false };
  const now = runtime.now.bind(runtime);
  const setTimer = runtime.setTimer.bind(runtime);
  Object.assign(runtime, {
    now: () => now() + passing.skewMs,
    setTimer: (callback: () => void, ms: number) => setTimer(callback, ms === 5000 && !passing.isOver ? 10 : ms),
  });
  const disks = await plugAll(
    rig,
    [0, 1, 2].map(() => new Uint8Array(2 * MiB)),
  );
  const baseBdevs = ['m0', 'm1', 'm2'];
  await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs, stripSizeKb: 16, superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 1));
  let refused = 0;
  const isPage = (io: BdevIo): boolean => io.type === IoType.Write && io.offsetBlocks >= pagesAt && io.offsetBlocks < pagesEnd;
  for (const index of [1, 2])
    disks[index]!.fault = (io) => {
      if (!isPage(io)) return Status.Ok;
      passing.isOver = true;
      refused++;
      return Status.NoSpace;
    };
  passing.skewMs = 6000;
  await until(() => refused === 2, 'one member has the page, and two have no room for it');
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(arrayOf(rig, 'a').numInSync).toBe(3);
  disks[1]!.fault = () => Status.Ok;
  // The process is killed when the data is written, and its parity is not.
  disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataAt ? null : Status.Ok);
  void volume.write(0, blocks(1, 2)).catch(() => undefined);
  await until(() => disks[2]!.held.length > 0 && disks[0]!.bytes[dataAt * 512] === 2, 'the data is there');
  const next = newRig();
  const after = await plugAll(
    next,
    disks.map(({ bytes }) => bytes.slice()),
  );
  const xor = (): number => after.reduce((sum, { bytes }) => sum ^ (bytes[dataAt * 512] ?? 0), 0);
  expect(xor() === 0 || !arrayOf(next, 'a').consistency.isAllInSync).toBe(true);
  await until(() => xor() === 0, 'data and parity agree');
});
