import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const memberBytes = MiB + 96 * 1024;
const dataStart = MiB / 512;
/** First blocks of the chunks of stripe 1, which lie on slots 0 to 2; P is on slot 3, and Q on slot 4. */
const chunks = [24, 32, 40] as const;

it('what is written to a member that has come back is journaled beside what is in doubt', async () => {
  const rig = newRig();
  const plug = async (index: number): Promise<RamDisk> => {
    const bytes = new Uint8Array(memberBytes);
    return (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk;
  };
  const disks = new Map<number, RamDisk>();
  for (let index = 0; index < 5; index++) disks.set(index, await plug(index));
  const baseBdevs = [...disks.keys()].map((index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid6', baseBdevs, stripSizeKb: 4, superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(72, 1));
  for (const index of [0, 1]) {
    await rig.arrays.removeBaseBdev(`m${index}`);
    disks.delete(index);
  }
  disks.set(5, await plug(5));
  await rig.arrays.addBaseBdev('a', 'm5');
  await arrayOf(rig, 'a').processEnded;
  expect(arrayOf(rig, 'a').journal!.slots).toEqual([0, 1]);
  // Neither parity gets its write for the last chunk.
  for (const index of [3, 4])
    disks.get(index)!.fault = ({ offsetBlocks, type }) =>
      type === IoType.Write && offsetBlocks >= dataStart ? Status.IoError : Status.Ok;
  await expect(volume.write(chunks[2], blocks(1, 2))).rejects.toThrow();
  for (const index of [3, 4]) disks.get(index)!.fault = () => Status.Ok;
  await volume.write(chunks[0], blocks(1, 3));
  // This is a crash.
  const again = newRig();
  for (const [index, { bytes }] of disks)
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
  await until(() => again.arrays.get('a')?.state === 'online', 'it is online');
  const after = openVolume(again, 'a');
  expect((await after.read(chunks[0], 1))[0]).toBe(3);
  // Blocks of the still absent member that only inconsistent parity gives were not journaled.
  expect((await after.read(chunks[1], 1))[0]).toBe(1);
});
