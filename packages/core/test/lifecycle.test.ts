import { Bdev, IoType, Status } from '@raidkit/bdev';
import { CutMode, Fate } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { RamDisk, plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { SparseMachine } from '../../../test/support/sparse-machine.js';

const MiB = 1 << 20;
const members = 3;
/** The memory is small, because many rigs are made. */
const memoryBytes = 16 * MiB;

/** A device that is registered, and whose examination is not awaited. */
function plug(rig: Rig, index: number, bytes: Uint8Array): { bdev: Bdev; disk: RamDisk; examined: Promise<void> } {
  const disk = new RamDisk(rig.registry, bytes, 512);
  const bdev = new Bdev({
    name: `m${index}`,
    uuid: memberUuid(index),
    blockSize: 512,
    numBlocks: bytes.length / 512,
    driver: disk,
  });
  return { bdev, disk, examined: rig.registry.register(bdev) };
}

/**
 * Calls `act` at the n-th I/O that the disks get from now on, and holds that I/O until `act` has begun. `end` says whether
 * there were so many.
 */
function atIo(disks: readonly RamDisk[], nth: number, act: () => void): { end: () => boolean } {
  let count = 0;
  for (const disk of disks) {
    disk.fault = (io) => {
      if (count++ !== nth) return Status.Ok;
      setImmediate(() => {
        act();
        setImmediate(() => disk.finish(io, Status.Ok));
      });
      return null;
    };
  }
  const end = (): boolean => {
    for (const disk of disks) disk.fault = () => Status.Ok;
    return count > nth;
  };
  return { end };
}

function expectNothingLeft(rig: Rig): void {
  expect(rig.arrays.list()).toEqual([]);
  expect(rig.registry.get('a')).toBeUndefined();
  for (const bdev of rig.registry.list())
    expect({ name: bdev.name, claimedBy: bdev.claimedBy, open: bdev.descriptors.size }).toEqual({
      name: bdev.name,
      claimedBy: null,
      open: 0,
    });
  expect(rig.registry.ios.outstanding).toBe(0);
}

const ends = {
  delete: (rig: Rig) => (rig.arrays.get('a') === undefined ? Promise.resolve() : rig.arrays.delete('a')),
  stop: (rig: Rig) => rig.arrays.stop(),
};

describe.each(['delete', 'stop'] as const)('%s', (how) => {
  it.each(['raid1', 'raid0'])('at each I/O of a creation of a %s leaves nothing of the array', async (level) => {
    for (let nth = 0, isOver = false; !isOver; nth++) {
      const rig = newRig({ memoryBytes });
      const disks: RamDisk[] = [];
      for (let index = 0; index < members; index++)
        disks.push(
          (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) })).disk,
        );
      let ended: Promise<void> | null = null;
      const calls = atIo(disks, nth, () => void (ended ??= ends[how](rig)));
      const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
      await rig.arrays
        .create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...strip })
        .catch(() => undefined);
      isOver = !calls.end();
      await (ended ??= ends[how](rig));
      expectNothingLeft(rig);
      // The cancelled start does not prevent the next one.
      if (how === 'delete' && !isOver && nth % 7 === 0)
        await rig.arrays.create({ name: 'a', level, baseBdevs: ['m0', 'm1', 'm2'], superblock: true, ...strip, force: true });
    }
  });

  it.each(['raid5f', 'raid0'])('at each I/O of an assembly of a %s leaves nothing of the array', async (level) => {
    const { rig: before, disks: made, volume } = await build(level, members);
    await volume.write(0, blocks(64, 7));
    volume.descriptor.close();
    await before.arrays.stop();
    for (let nth = 0, isOver = false; !isOver; nth++) {
      const rig = newRig({ memoryBytes });
      const plugged = made.map(({ bytes }, index) => plug(rig, index, bytes.slice()));
      let ended: Promise<void> | null = null;
      const calls = atIo(
        plugged.map(({ disk }) => disk),
        nth,
        () => void (ended ??= ends[how](rig)),
      );
      await Promise.all(plugged.map(({ examined }) => examined));
      await rig.registry.waitForExamine();
      isOver = !calls.end();
      await (ended ??= ends[how](rig));
      if (rig.arrays.get('a') === undefined) {
        expectNothingLeft(rig);
        continue;
      }
      // It was deleted before all its members had been seen, and those that came later made it anew.
      expect(how).toBe('delete');
      await rig.arrays.stop();
      expectNothingLeft(rig);
    }
  });
});

it.each(['delete', 'stop'] as const)('%s waits for a replacement that is looking at its device', async (how) => {
  // Reads of what the device carries, then writes that clear it.
  for (let nth = 0, isOver = false; !isOver; nth++) {
    const { rig, volume } = await build('raid1', 2);
    volume.descriptor.close();
    const { disk } = await plugIn(rig.registry, { name: 'new', uuid: memberUuid(9), bytes: new Uint8Array(3 * MiB) });
    let count = 0;
    disk.fault = () => (count++ === nth ? null : Status.Ok);
    let isBegun = false;
    const begun = rig.arrays
      .replaceBaseBdev('a', 'm1', 'new')
      .then(() => (isBegun = true))
      .catch(() => undefined);
    await until(() => disk.held.length > 0 || isBegun, 'the device is being looked at, or copied to');
    isOver = isBegun;
    const events: string[] = [];
    const ended = ends[how](rig).then(() => {
      events.push('ended');
      expectNothingLeft(rig);
    });
    // This is enough time for a stop that waits for nothing.
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(disk.held.length > 0 ? events : []).toEqual([]);
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    disk.fault = () => Status.Ok;
    await ended;
    await begun;
    expectNothingLeft(rig);
  }
});

it('arrays that are stopped assemble nothing any more', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  volume.descriptor.close();
  await rig.arrays.stop();
  await rig.registry.unregister(rig.registry.get('m0')!);
  await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes });
  await rig.arrays.examine(rig.registry.get('m1')!);
  expectNothingLeft(rig);
  await expect(rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m0', 'm1'] })).rejects.toThrow(/stopped/);
});

it('an array that is a member of another one is stopped after it', async () => {
  const rig = newRig({ memoryBytes });
  for (let index = 0; index < 4; index++)
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(4 * MiB) });
  await rig.arrays.create({ name: 'x', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.create({ name: 'y', level: 'raid1', baseBdevs: ['m2', 'm3'], superblock: true });
  await rig.arrays.create({ name: 'a', level: 'raid0', baseBdevs: ['x', 'y'], superblock: true, stripSizeKb: 16 });
  // The inner array is made anew, and so is younger than the outer one from now on.
  await rig.registry.unregister(rig.registry.get('m0')!);
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 3));
  volume.descriptor.close();
  await rig.arrays.stop();
  const order = rig.events.flatMap((event) => (event.type === 'arrayRemoved' ? [event.array] : []));
  expect(order[0]).toBe('a');
  expectNothingLeft(rig);
});

it.each([0, 1, 2])('a creation takes devices that are being examined, in whatever order that ends (%i)', async (first) => {
  const rig = newRig({ memoryBytes });
  const plugged = [0, 1, 2].map((index) => plug(rig, index, new Uint8Array(3 * MiB)));
  for (const { disk } of plugged) disk.fault = (io) => (io.type === IoType.Read ? null : Status.Ok);
  const created = rig.arrays.create({ name: 'a', level: 'raid0', baseBdevs: ['m0', 'm1', 'm2'], stripSizeKb: 16 });
  const order = [plugged[first]!, ...plugged.filter((_, index) => index !== first).reverse()];
  let isDone = false;
  const done = created.then(
    () => (isDone = true),
    (error: unknown) => {
      isDone = true;
      throw error;
    },
  );
  done.catch(() => undefined);
  for (let round = 0; !isDone; round++) {
    const { disk } = order[round % order.length]!;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await done;
  expect(arrayOf(rig, 'a').state).toBe('online');
});

it('a start that failed is tried again without the old image that it had set aside', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  await volume.flush();
  const old = disks[1]!.bytes.slice();
  // A member is removed and added twice, so that all members have had the present superblocks.
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is filled');
  await volume.write(0, blocks(8, 2));
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig({ memoryBytes });
  const first = plug(again, 0, disks[0]!.bytes.slice());
  const second = plug(again, 1, old);
  // The first superblock that the start writes fails, once.
  let failures = 0;
  first.disk.fault = (io) => (io.type === IoType.Write && failures++ === 0 ? Status.IoError : Status.Ok);
  await Promise.all([first.examined, second.examined]);
  await again.registry.waitForExamine();
  expect(failures).toBeGreaterThan(0);
  await until(() => again.arrays.get('a')?.state === 'online', 'the array is online');
  await until(() => arrayOf(again, 'a').numInSync === 2, 'the old image is filled anew');
  expect(await openVolume(again, 'a').read(0, 8)).toEqual(blocks(8, 2));
  expect(second.disk.bytes[MiB]).toBe(2);
});

it.each([Status.NotPermitted, Status.IoError])(
  'a start that a device refuses (%s) is tried again, until it takes writes',
  async (status) => {
    const { disks, volume } = await build('raid5f', 3);
    await volume.write(0, blocks(8, 1));
    // The array is not stopped cleanly, and needs all of its members.
    const again = newRig({ memoryBytes });
    const { runtime } = again.registry;
    const setTimer = runtime.setTimer.bind(runtime);
    runtime.setTimer = (callback, ms) => setTimer(callback, ms >= 5000 ? 10 : ms);
    let isRefusing = true;
    const found = disks.map(({ bytes }, index) => plug(again, index, bytes.slice()));
    found[2]!.disk.fault = ({ type }) => (isRefusing && type === IoType.Write ? status : Status.Ok);
    await Promise.all(found.map(({ examined }) => examined));
    await again.registry.waitForExamine();
    await until(() => arrayOf(again, 'a').startError !== null, 'it has been tried');
    expect(arrayOf(again, 'a').state).toBe('configuring');
    isRefusing = false;
    await until(() => arrayOf(again, 'a').state === 'online', 'the array is online');
    expect(arrayOf(again, 'a').numInSync).toBe(3);
  },
);

it('a device that cannot be read when it appears is examined again, until it can be', async () => {
  const machine = new SparseMachine([3 * MiB, 3 * MiB]);
  await machine.boot();
  await machine.create('raid1', ['m0', 'm1']);
  await machine.until(machine.arrays.stop());
  machine.cut(CutMode.KeepAll);
  await machine.boot({ disks: [0] });
  expect(machine.array.state).toBe('configuring');
  let failures = 0;
  machine.disks[1]!.onSubmit = ({ type }) => (type === IoType.Read && failures++ < 8 ? Fate.Fail : undefined);
  await machine.plugIn(1);
  await machine.sleep(1000);
  expect([failures > 0 && failures < 8, machine.array.state]).toEqual([true, 'configuring']);
  // The device is examined repeatedly until it can be read.
  await machine.sleep(600_000);
  expect([failures > 8, machine.array.state, machine.array.numInSync]).toEqual([true, 'online', 2]);
});

it('a device that was waited for and could not be read is taken when it can be', async () => {
  const rig = newRig({ memoryBytes });
  await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: new Uint8Array(3 * MiB) });
  await rig.arrays.create({ name: 'a', level: 'raid0', baseBdevs: ['m0', 'm1'], stripSizeKb: 16, superblock: true });
  const { disk, examined } = plug(rig, 1, new Uint8Array(3 * MiB));
  let reads = 0;
  // The examination's own read is good, that of the array is not.
  disk.fault = (io) => (io.type === IoType.Read && ++reads === 2 ? Status.IoError : Status.Ok);
  await examined;
  expect(arrayOf(rig, 'a').state).toBe('configuring');
  await until(() => arrayOf(rig, 'a').state === 'online', 'the array is online');
});

it('a member that leaves while the map is being loaded is not recorded by a start that knows nothing yet', async () => {
  const { rig, disks, volume } = await build('raid1', 3);
  await volume.write(0, blocks(64, 7));
  volume.descriptor.close();
  await rig.arrays.stop();
  // Of the second region only the map knows that it holds nothing.
  disks.forEach(({ bytes }, index) => bytes.fill(0xe0 + index, 2 * MiB, 3 * MiB));
  for (let nth = 0, isOver = false; !isOver; nth += 2) {
    const again = newRig({ memoryBytes });
    const plugged = disks.map(({ bytes }, index) => plug(again, index, bytes.slice()));
    const gone: Promise<void>[] = [];
    const calls = atIo(
      plugged.map(({ disk }) => disk),
      nth,
      () => void gone.push(again.registry.unregister(plugged[2]!.bdev)),
    );
    await Promise.all(plugged.map(({ examined }) => examined));
    await again.registry.waitForExamine();
    isOver = !calls.end();
    await Promise.all(gone);
    if (again.arrays.get('a')?.state !== 'online') await again.arrays.startDegraded('a');
    const opened = openVolume(again, 'a');
    expect(await opened.read(0, 64)).toEqual(blocks(64, 7));
    expect(await opened.read(3000, 64), `gone at I/O ${nth}`).toEqual(blocks(64, 0));
    opened.descriptor.close();
    await again.arrays.stop();
    // The superblocks of the other devices describe an array, too.
    const third = newRig({ memoryBytes });
    for (const index of [0, 1]) await plug(third, index, plugged[index]!.disk.bytes.slice()).examined;
    await third.registry.waitForExamine();
    if (third.arrays.get('a')?.state !== 'online') await third.arrays.startDegraded('a');
    const last = openVolume(third, 'a');
    expect(await last.read(0, 64)).toEqual(blocks(64, 7));
    expect(await last.read(3000, 64), `gone at I/O ${nth}, later`).toEqual(blocks(64, 0));
  }
});
