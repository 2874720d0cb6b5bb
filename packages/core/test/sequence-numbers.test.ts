import { IoType, Status } from '@raidkit/bdev';
import { parseSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { VolatileDisk, plugInDisk } from '../../../test/support/volatile-disk.js';

/** The sequence number of the superblock on a member. */
function numberOf({ bytes }: RamDisk): number {
  const found = parseSuperblock(bytes.subarray(0, 4096));
  if (!found.ok) throw new Error('there is no superblock');
  return found.superblock.seqNumber;
}

async function plug({ registry }: Rig, index: number, bytes: Uint8Array): Promise<RamDisk> {
  return (await plugIn(registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk;
}

it('a start without a member numbers its superblocks above those of a start with all that was cut short', async () => {
  const rig = newRig();
  const first = [await plug(rig, 0, new Uint8Array(3 << 20)), await plug(rig, 1, new Uint8Array(3 << 20))];
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.stop();
  // The machine stops when m0 alone has the superblock of the next start.
  const cut = newRig();
  const [m0, m1] = first.map(({ bytes }) => new VolatileDisk(cut.registry, bytes.slice())) as [VolatileDisk, VolatileDisk];
  m1.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === 0 ? null : Status.Ok);
  const plugged = Promise.all([plugInDisk(cut.registry, 0, m0), plugInDisk(cut.registry, 1, m1)]);
  await until(() => m1.held.length > 0 && numberOf(m0) > numberOf(first[0]!), 'm0 has the superblock');
  const [ahead, behind] = [m0.bytes.slice(), m1.bytes.slice()];
  m1.fault = () => Status.Ok;
  for (const io of m1.held.splice(0)) m1.finish(io, Status.Ok);
  await plugged;
  await until(() => cut.arrays.get('a')?.state === 'online', 'the start ends');
  await cut.arrays.stop();
  const alone = newRig();
  const left = await plug(alone, 1, behind);
  await alone.arrays.startDegraded('a');
  const found = await plug(newRig(), 0, ahead);
  expect(numberOf(left)).toBeGreaterThan(numberOf(found));
  await alone.arrays.stop();
});

it('a superblock that was read from a cache, and is lost by a flush that fails, is not missed at the next start', async () => {
  const rig = newRig();
  const disks = [0, 1].map(() => new VolatileDisk(rig.registry, new Uint8Array(3 << 20)));
  for (const [index, disk] of disks.entries()) await plugInDisk(rig.registry, index, disk);
  await rig.arrays.create({ name: 'a', level: 'raid0', baseBdevs: ['m0', 'm1'], stripSizeKb: 16, superblock: true });
  const [m0, m1] = disks as [VolatileDisk, VolatileDisk];
  const before = numberOf(m0);
  // The process is killed when both have written a superblock, and m0 has not flushed it.
  m0.fault = ({ type }) => (type === IoType.Flush && numberOf(m0) > before ? null : Status.Ok);
  const update = arrayOf(rig, 'a').metadata.update();
  await until(() => m0.held.length > 0 && numberOf(m1) > before, 'both have it');
  const next = newRig();
  const second = disks.map((disk) => disk.copyFor(next.registry));
  m0.fault = () => Status.Ok;
  for (const io of m0.held.splice(0)) m0.finish(io, Status.Ok);
  await update;
  // m0 loses it at the start's first flush, and the start fails.
  let hasFailed = false;
  second[0]!.onFailedFlush = 'drops it';
  second[0]!.fault = ({ type }) => {
    if (type !== IoType.Flush || hasFailed) return Status.Ok;
    hasFailed = true;
    return Status.IoError;
  };
  for (const [index, disk] of second.entries()) await plugInDisk(next.registry, index, disk);
  await until(() => hasFailed && arrayOf(next, 'a').state === 'configuring', 'the start fails');
  await until(() => !arrayOf(next, 'a').isStarting, 'it has ended');
  const last = newRig();
  const third = second.map((disk) => disk.copyFor(last.registry));
  await next.arrays.stop();
  for (const disk of third) disk.cutPower();
  expect(numberOf(third[0]!)).toBe(before);
  for (const [index, disk] of third.entries()) await plugInDisk(last.registry, index, disk);
  await until(() => last.arrays.get('a')?.state === 'online', 'it starts');
  await last.arrays.stop();
});
