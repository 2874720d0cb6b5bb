import { IoType, Status } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

it('our extension does not count once SPDK has run the array', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const { encodeSuperblock } = await import('@raidkit/superblock');
  const images = disks.map((disk) => {
    const bytes = disk.bytes.slice();
    const superblock = superblockOf(disk);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    return bytes;
  });
  const again = newRig();
  for (const [index, bytes] of images.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  const { bitmap, processEnded } = arrayOf(again, 'a');
  expect(bitmap!.count(RegionState.Unwritten)).toBe(0);
  expect(bitmap!.regionsToResync).toBe(bitmap!.states.length);
  await processEnded;
  expect(bitmap!.regionsToResync).toBe(0);
});

it('two halves that were used apart are not put together, nor is one of them taken for the array', async () => {
  const { disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  const halves = await Promise.all(
    [0, 1].map(async (index) => {
      const rig = newRig();
      const bytes = disks[index]!.bytes.slice();
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
      await rig.arrays.startDegraded('a');
      const half = openVolume(rig, 'a');
      await half.write(0, blocks(8, 10 + index));
      // One half has had more superblock updates than the other.
      if (index === 1) await arrayOf(rig, 'a').metadata.update();
      half.descriptor.close();
      await rig.arrays.stop();
      return bytes;
    }),
  );
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const rig = newRig({ assembly: { absentWaitMs: 5000 } });
    const plugged = [];
    for (const index of order) {
      const bytes = halves[index]!.slice();
      plugged.push(bytes);
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    }
    await rig.registry.waitForExamine();
    expect(rig.registry.get('a')).toBeUndefined();
    await expect(rig.arrays.startDegraded('a')).rejects.toThrow(/used without each other/);
    await rig.arrays.startDegraded('a', { force: true });
    const array = arrayOf(rig, 'a');
    await array.processEnded;
    const data = await openVolume(rig, 'a').read(0, 8);
    // One of the halves is read completely; the writes that only the other half has do not appear.
    expect([10, 11]).toContain(data[0]);
    expect(data.every((byte) => byte === data[0])).toBe(true);
    expect(plugged.map((bytes) => bytes[MiB]).sort()).toEqual([10, 11]);
  }
});

it('a stale last copy does not start while the one that knows better may come', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  // The array runs on m0 without m1; then m1 is rebuilt, and m0 fails before that is recorded on it.
  await rig.arrays.removeBaseBdev('m1');
  const stale = disks[0]!.bytes.slice();
  await rig.arrays.addBaseBdev('a', 'm1');
  await arrayOf(rig, 'a').processEnded;
  await rig.registry.unregister(rig.registry.get('m0')!);
  await volume.write(0, blocks(8, 2));
  const current = disks[1]!.bytes.slice();
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const again = newRig({ assembly: { absentWaitMs: 5000 } });
    for (const index of order)
      await plugIn(again.registry, {
        name: `m${index}`,
        uuid: memberUuid(index),
        bytes: (index === 0 ? stale : current).slice(),
      });
    await again.registry.waitForExamine();
    const array = arrayOf(again, 'a');
    await until(() => array.numInSync === 2, 'the stale copy is filled anew');
    expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 2));
  }
});

it('an old image of one member is not taken for current', async () => {
  for (const level of ['raid1', 'raid5f']) {
    const { rig, disks, volume } = await build(level, 3);
    await volume.write(0, blocks(64, 1));
    volume.descriptor.close();
    await rig.arrays.stop();
    const old = disks[1]!.bytes.slice();
    const images = disks.map(({ bytes }) => bytes);
    const session = newRig();
    for (const [index, bytes] of images.entries())
      await plugIn(session.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    await session.registry.waitForExamine();
    const second = openVolume(session, 'a');
    await second.write(0, blocks(64, 2));
    second.descriptor.close();
    await session.arrays.stop();
    for (const order of [
      [0, 1, 2],
      [1, 2, 0],
    ]) {
      const again = newRig();
      for (const index of order)
        await plugIn(again.registry, {
          name: `m${index}`,
          uuid: memberUuid(index),
          bytes: (index === 1 ? old : images[index]!).slice(),
        });
      await again.registry.waitForExamine();
      const array = arrayOf(again, 'a');
      for (let round = 0; round < 4; round++) expect(await openVolume(again, 'a').read(0, 64)).toEqual(blocks(64, 2));
      await until(() => array.process === null && array.numInSync === 3, 'it is filled anew');
    }
  }
});

it('starts without a member that does not come, after the time that is set for that', async () => {
  const clean = await build('raid5f', 3);
  await clean.volume.write(0, blocks(8, 1));
  clean.volume.descriptor.close();
  await clean.rig.arrays.stop();
  const again = newRig({ assembly: { degradedStartMs: 30 } });
  for (const index of [0, 1])
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: clean.disks[index]!.bytes.slice() });
  await again.registry.waitForExamine();
  expect(again.registry.get('a')).toBeUndefined();
  await until(() => arrayOf(again, 'a').state === 'online', 'it is started degraded');
  // A parity level is not started in this way after an unclean stop.
  const parity = await build('raid5f', 3);
  await parity.volume.write(0, blocks(1, 1));
  const third = newRig({ assembly: { degradedStartMs: 30 } });
  for (const index of [0, 1])
    await plugIn(third.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: parity.disks[index]!.bytes.slice() });
  await until(() => arrayOf(third, 'a').startError !== null, 'it is refused');
  expect(arrayOf(third, 'a').startError).toMatch(/not stopped cleanly/);
});

it('a member that comes back while the array is stopping is not taken for current', async () => {
  const { disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  const images = disks.map(({ bytes }) => bytes.slice());
  const again = newRig();
  const { disk } = await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: images[0]! });
  await again.arrays.startDegraded('a');
  const half = openVolume(again, 'a');
  await half.write(0, blocks(8, 2));
  // The last write is slow; meanwhile the absent member appears.
  disk.fault = (io) => (io.type === IoType.Write ? null : Status.Ok);
  const written = half.write(16, blocks(8, 2));
  await until(() => disk.held.length > 0, 'the last write is under way');
  const stopped = again.arrays.stop();
  await plugIn(again.registry, { name: 'm1', uuid: memberUuid(1), bytes: images[1]! });
  await again.registry.waitForExamine();
  disk.fault = () => Status.Ok;
  for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  await written;
  half.descriptor.close();
  await stopped;
  const last = newRig();
  for (const index of [1, 0])
    await plugIn(last.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images[index]! });
  await last.registry.waitForExamine();
  await arrayOf(last, 'a').processEnded;
  await last.arrays.removeBaseBdev('m0');
  expect(await openVolume(last, 'a').read(0, 8)).toEqual(blocks(8, 2));
});

it('the map that a device kept from when it was used apart says nothing once it has been filled', async () => {
  const { disks, rig: first, volume } = await build('raid1', 2, { mebibytes: 4 });
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await first.arrays.stop();
  const [kept, apart] = disks.map((disk) => disk.bytes.slice()) as [Uint8Array, Uint8Array];
  const alone = async (index: number, bytes: Uint8Array): Promise<Rig> => {
    const rig = newRig();
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    if (rig.registry.get('a') === undefined) await rig.arrays.startDegraded('a');
    return rig;
  };
  // Its write-intent bitmap becomes newer than that of the other half.
  for (let run = 0; run < 6; run++) {
    const rig = await alone(1, apart);
    const half = openVolume(rig, 'a');
    await half.write(0, blocks(8, 10 + run));
    half.descriptor.close();
    await rig.arrays.stop();
  }
  const rig = await alone(0, kept);
  const half = openVolume(rig, 'a');
  await half.write(2 * 2048, blocks(8, 2));
  // The member is wiped as by a program that does not know of write-intent bitmaps.
  apart.fill(0, 0, 64 * 1024);
  await plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: apart });
  await rig.arrays.addBaseBdev('a', 'm1');
  const array = arrayOf(rig, 'a');
  await until(() => array.numInSync === 2 && array.process === null, 'it is filled');
  // The process is killed before pages are written once more.
  const filled = openVolume(await alone(1, apart.slice()), 'a');
  expect([(await filled.read(0, 8))[0], (await filled.read(2 * 2048, 8))[0]]).toEqual([1, 2]);
});
