import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

/** First block of a member's data area. */
const dataAt = 2048;
const regionBlocks = 2048;

/** Runs so many turns that requests are waiting. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve));
}

it('a write that waited for a stripe makes no parity of a member that has missed the write before it', async () => {
  const { rig, disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(256, 1));
  disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === dataAt ? null : Status.Ok);
  const first = volume.write(0, blocks(1, 2));
  await until(() => disks[0]!.held.length > 0, 'its data is under way');
  // The block is in the same column, on the other member with data.
  const second = volume.write(32, blocks(1, 3));
  await turns();
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.IoError);
  await Promise.all([first, second]);
  expect(arrayOf(rig, 'a').slots.map(({ isInSync }) => isInSync)).toEqual([false, true, true]);
  expect(await volume.read(0, 1)).toEqual(blocks(1, 2));
  expect(await volume.read(32, 1)).toEqual(blocks(1, 3));
});

it('a read that waited for a block gives no copy back what a member holds that has missed the write before it', async () => {
  const made = await build('raid1', 2, { mebibytes: 8 });
  // The process is killed while all regions are being written.
  for (let region = 0; region < 8; region++) await made.volume.write(region * regionBlocks, blocks(8, 1));
  const rig = newRig();
  rig.arrays.setProcessOptions({ maxBandwidthMbSec: 1 });
  const disks: RamDisk[] = [];
  for (const [index, { bytes }] of made.disks.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
  await until(() => arrayOf(rig, 'a').process !== null, 'it is started');
  arrayOf(rig, 'a').process?.pause();
  const volume = openVolume(rig, 'a');
  const at = 7 * regionBlocks + 64;
  expect(arrayOf(rig, 'a').isInconsistent(at, 1)).toBe(true);
  const [m0] = disks;
  m0!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === dataAt + at ? null : Status.Ok);
  const written = volume.write(at, blocks(1, 2));
  await until(() => m0!.held.length > 0, 'it is under way');
  const read = volume.read(at, 1);
  await turns();
  m0!.fault = () => Status.Ok;
  for (const io of m0!.held.splice(0)) m0!.finish(io, Status.IoError);
  await Promise.all([written, read]);
  expect(await volume.read(at, 1)).toEqual(blocks(1, 2));
  volume.descriptor.close();
  await rig.arrays.stop();
});
