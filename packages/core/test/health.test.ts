import { IoType, Status } from '@raidkit/bdev';
import { healthOf } from '@raidkit/core';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { arrayOf } from '../../../test/support/rig.js';

it.each([
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
  ['raid5f', 3],
] as const)(
  '%s says that it has failed, and why, once a flush of a member has that it cannot do without',
  async (level, members) => {
    const { disks, rig, volume } = await build(level, members);
    await volume.write(0, blocks(64, 1));
    expect(healthOf(arrayOf(rig, 'a'))).toEqual({ health: 'optimal', reason: null });
    if (level === 'raid1' || level === 'raid5f') {
      await rig.arrays.removeBaseBdev(`m${members - 1}`);
      expect(healthOf(arrayOf(rig, 'a'))).toEqual({ health: 'degraded', reason: null });
    }
    disks[0]!.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
    await expect(volume.flush()).rejects.toMatchObject({ errno: Status.IoError });
    disks[0]!.fault = () => Status.Ok;
    await expect(volume.flush()).rejects.toMatchObject({ errno: Status.IoError });
    const { health, reason } = healthOf(arrayOf(rig, 'a'));
    expect([health, reason]).toEqual(['failed', expect.stringContaining('a flush failed on slot 0 (m0)')]);
  },
);

it('a mirror that lets a member go for its failed flush is degraded, and has not failed', async () => {
  const { disks, rig, volume } = await build('raid1', 2);
  await volume.write(0, blocks(64, 1));
  disks[0]!.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
  await volume.flush();
  expect(healthOf(arrayOf(rig, 'a'))).toEqual({ health: 'degraded', reason: null });
});

it.each(['raid1', 'raid5f'])('%s says which blocks are bad, until they are written', async (level) => {
  const { rig, volume } = await build(level, 3);
  await volume.write(0, blocks(128, 1));
  const array = arrayOf(rig, 'a');
  array.markBad(1, 5, 2);
  const { health, reason } = healthOf(array);
  expect([health, reason]).toEqual(['optimal', expect.stringContaining('2 of slot 1 (m1), the first at block 5 of its data')]);
  await volume.write(0, blocks(128, 2));
  expect(healthOf(array)).toEqual({ health: 'optimal', reason: null });
});
