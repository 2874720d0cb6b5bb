import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const good = 3;

async function filled(level: string, members: number): Promise<Built> {
  const built = await build(level, members);
  await built.volume.write(0, blocks(1024, good));
  return built;
}

/** Overwrites blocks of a member's data area without an I/O. */
function rot(disk: RamDisk, block: number, count: number, fill: number): void {
  disk.bytes.fill(fill, MiB + block * 512, MiB + (block + count) * 512);
}

it('of three copies the majority counts, whichever copy is wrong', async () => {
  const { rig, disks } = await filled('raid1', 3);
  rot(disks[0]!, 10, 2, 9);
  rot(disks[2]!, 40, 1, 8);
  const array = arrayOf(rig, 'a');
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  // Where the first copy is wrong, both others differ from it.
  expect(array.history[0]).toMatchObject({ type: 'check', mismatchBlocks: 2 + 2 + 1, repairedBlocks: 0 });
  rig.arrays.startSync('a', 'repair');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'repair', error: null, repairedBlocks: 3, undecidedBlocks: 0 });
  for (const { bytes } of disks) expect(bytes.subarray(MiB, MiB + 1024 * 512).every((byte) => byte === good)).toBe(true);
});

it('what is put right in one place is no reason to pass over another', async () => {
  const { rig, disks } = await filled('raid1', 3);
  rot(disks[1]!, 10, 1, 8);
  // In another window, where the second copy is right and the third one is not.
  rot(disks[2]!, 200, 1, 9);
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  const isOfOther = (block: number): boolean => block >= 2048 + 128 && block < 2048 + 256;
  disks[1]!.fault = (io) => (io.type === IoType.Read && isOfOther(io.offsetBlocks) ? null : Status.Ok);
  rig.arrays.startSync('a', 'repair');
  const array = arrayOf(rig, 'a');
  await until(() => array.process?.repairedBlocks === 1 && disks[1]!.held.length > 0, 'the first is put right');
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.Ok);
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ error: null, repairedBlocks: 2 });
  for (const { bytes } of disks) expect(bytes.subarray(MiB, MiB + 1024 * 512).every((byte) => byte === good)).toBe(true);
});

it('what cannot be decided is left as it is, and said', async () => {
  const { rig, disks } = await filled('raid1', 3);
  rot(disks[1]!, 10, 1, 8);
  rot(disks[2]!, 10, 1, 9);
  rot(disks[2]!, 11, 1, 9);
  const array = arrayOf(rig, 'a');
  rig.arrays.startSync('a', 'repair');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ repairedBlocks: 1, undecidedBlocks: 1 });
  expect(array.history[0]!.error).toMatch(/1 blocks differ, and no copy has the majority/);
  expect(disks.map(({ bytes }) => bytes[MiB + 10 * 512])).toEqual([good, 8, 9]);
  // This is so until the operator says which copy is right.
  rig.arrays.startSync('a', 'repair', { source: 1 });
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ error: null, repairedBlocks: 2 });
  expect(disks.map(({ bytes }) => bytes[MiB + 10 * 512])).toEqual([8, 8, 8]);
});

it('two copies are repaired only if the operator says which is right, or wrong', async () => {
  const { rig, disks } = await filled('raid1', 2);
  rot(disks[0]!, 10, 1, 9);
  expect(() => rig.arrays.startSync('a', 'repair')).toThrow(/nothing determines which of two copies is right/);
  expect(() => rig.arrays.startSync('a', 'repair', { source: 5 })).toThrow(/slot 5 has no member/);
  rig.arrays.startSync('a', 'repair', { source: 1 });
  await arrayOf(rig, 'a').processEnded;
  expect(disks[0]!.bytes[MiB + 10 * 512]).toBe(good);
  // The operator may instead say which member is wrong.
  rot(disks[0]!, 10, 1, 9);
  rig.arrays.startSync('a', 'repair', { wrong: 0 });
  await arrayOf(rig, 'a').processEnded;
  expect(disks.map(({ bytes }) => bytes[MiB + 10 * 512])).toEqual([good, good]);
});

it('parity is made anew, or the data of a member that is named as wrong', async () => {
  const { rig, disks, volume } = await filled('raid5f', 3);
  const array = arrayOf(rig, 'a');
  // Stripe 0 has its parity on slot 2.
  rot(disks[1]!, 4, 1, 9);
  expect((await volume.read(32 + 4, 1))[0]).toBe(9);
  expect(() => rig.arrays.startSync('a', 'repair', { source: 1 })).toThrow(/the member that is wrong is named/);
  rig.arrays.startSync('a', 'repair', { wrong: 1 });
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ error: null, mismatchBlocks: 1 });
  expect((await volume.read(32 + 4, 1))[0]).toBe(good);
  rot(disks[2]!, 4, 1, 9);
  rig.arrays.startSync('a', 'repair');
  await array.processEnded;
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'check', mismatchBlocks: 0 });
});
