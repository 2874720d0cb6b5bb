import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

async function mirrors(rig: Rig, physical: (member: number) => string[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (let index = 0; index < 4; index++) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
    disk.physical = physical(index);
    disks.push(disk);
  }
  for (const [index, name] of ['a', 'b'].entries()) {
    await rig.arrays.create({ name, level: 'raid1', baseBdevs: [`m${index * 2}`, `m${index * 2 + 1}`], superblock: true });
    const volume = openVolume(rig, name);
    await volume.write(0, new Uint8Array(2048 * 512).fill(1));
    volume.descriptor.close();
  }
  return disks;
}

const finished = (rig: Rig): string[] =>
  rig.events.filter(({ type }) => type.startsWith('process')).map(({ type, array }) => `${type} ${array}`);

it('arrays on one disk take turns; others do not wait', async () => {
  const shared = newRig();
  await mirrors(shared, (member) => (member === 1 || member === 2 ? ['disk'] : [`disk ${member}`]));
  for (const name of ['a', 'b']) shared.arrays.startSync(name, 'check');
  await Promise.all(['a', 'b'].map((name) => arrayOf(shared, name).processEnded));
  expect(finished(shared)).toEqual(['processStarted a', 'processFinished a', 'processStarted b', 'processFinished b']);
  expect(arrayOf(shared, 'b').waitsFor).toBeNull();
  const apart = newRig();
  await mirrors(apart, (member) => [`disk ${member}`]);
  for (const name of ['a', 'b']) apart.arrays.startSync(name, 'check');
  await Promise.all(['a', 'b'].map((name) => arrayOf(apart, name).processEnded));
  expect(finished(apart).slice(0, 2)).toEqual(['processStarted a', 'processStarted b']);
});

it('an array that waits for its turn can be stopped, and a target that waits can leave', async () => {
  const rig = newRig();
  const disks = await mirrors(rig, () => ['disk']);
  // The first process makes no progress.
  disks[0]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  await until(() => disks[0]!.held.length > 0, 'the first one is at work');
  await rig.arrays.removeBaseBdev('m3');
  await rig.arrays.addBaseBdev('b', 'm3');
  await until(() => arrayOf(rig, 'b').waitsFor === 'a', 'the second one waits');
  await rig.arrays.removeBaseBdev('m3');
  expect(arrayOf(rig, 'b')).toMatchObject({ waitsFor: null, slots: [{}, { descriptor: null }] });
  await rig.arrays.addBaseBdev('b', 'm3');
  await rig.arrays.delete('b');
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await arrayOf(rig, 'a').processEnded;
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'check', error: null });
});

it('a process that is paused holds no blocks back, and lets others have its turn', async () => {
  const rig = newRig();
  const disks = await mirrors(rig, () => ['disk']);
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  disks[0]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  const array = arrayOf(rig, 'a');
  await until(() => disks[0]!.held.length > 1, 'two windows are at work');
  array.process!.pause();
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await until(() => array.process!.offsetBlocks > 0, 'a window is done');
  const volume = openVolume(rig, 'a');
  for (let window = 0; window < 8; window++) await volume.write(window * 128, new Uint8Array(512).fill(2));
  rig.arrays.startSync('b', 'check');
  await until(() => finished(rig).includes('processFinished b'), 'the other one is done');
  // The process is now queued, and can be stopped there.
  disks[2]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? null : Status.Ok);
  rig.arrays.startSync('b', 'check');
  await until(() => disks[2]!.held.length > 0, 'the other one is at work again');
  array.process!.resume();
  await until(() => array.waitsFor === 'b', 'it waits');
  array.process!.stop(new Error('enough'));
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'check', error: 'enough' });
  disks[2]!.fault = () => Status.Ok;
  for (const io of disks[2]!.held.splice(0)) disks[2]!.finish(io, Status.Ok);
  await arrayOf(rig, 'b').processEnded;
  volume.descriptor.close();
});

it('works on several windows while no user is at work, on one while users are at work, and gives no estimate while it is paused', async () => {
  const rig = newRig();
  const disks = await mirrors(rig, (member) => [`disk ${member}`]);
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  const isOfProcess = (offsetBlocks: number): boolean => offsetBlocks >= 2048 + 128;
  disks[0]!.fault = (io) => (io.type === IoType.Read && isOfProcess(io.offsetBlocks) ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  const array = arrayOf(rig, 'a');
  await until(() => disks[0]!.held.length === 4, 'four windows are at work');
  expect(array.process!.describeFully()).toMatchObject({ paused: false, bytes_total: array.numBlocks * 512 });
  array.process!.pause();
  expect(array.process!.describeFully()).toMatchObject({ paused: true, eta_sec: null, eta_least_sec: null });
  // A user's write is slow; the process should continue beside it.
  const volume = openVolume(rig, 'a');
  disks[1]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 2048 ? null : Status.Ok);
  const written = volume.write(0, new Uint8Array(512).fill(3));
  await until(() => disks[1]!.held.length === 1, 'a user is at work');
  array.process!.resume();
  let most = 0;
  while (array.process !== null) {
    const held = disks[0]!.held.splice(0);
    // These are the four windows that had started before the user's request.
    if (array.process.offsetBlocks >= 5 * 128) most = Math.max(most, held.length);
    for (const io of held) disks[0]!.finish(io, Status.Ok);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(most).toBe(1);
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.Ok);
  await written;
  volume.descriptor.close();
});

it('a process that ends on an error holds no blocks back', async () => {
  const rig = newRig();
  const disks = await mirrors(rig, () => []);
  const again = newRig();
  const { disk } = await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes.slice() });
  await again.registry.waitForExamine();
  // The resync's flush fails, and the array cannot do without the member.
  again.arrays.on(({ type }) => {
    if (type === 'processStarted') disk.fault = (io) => (io.type === IoType.Flush ? Status.IoError : Status.Ok);
  });
  await again.arrays.startDegraded('a');
  const array = arrayOf(again, 'a');
  await until(() => array.history.length > 0, 'the resync has ended');
  expect(array.history[0]!.error).toMatch(/EIO/);
  const volume = openVolume(again, 'a');
  expect((await volume.read(0, volume.numBlocks))[0]).toBe(1);
  volume.descriptor.close();
});

it('the time that a rebuild has taken goes on over a restart', async () => {
  const rig = newRig();
  const disks = await mirrors(rig, () => []);
  await rig.arrays.removeBaseBdev('m1');
  disks[1]!.bytes.fill(0);
  disks[1]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => disks[1]!.held.length > 0, 'the rebuild is at work');
  const { process, metadata } = arrayOf(rig, 'a');
  Object.defineProperty(process!, 'elapsedSec', { value: 4711 });
  await metadata.saveHeaders();
  const again = newRig();
  for (const index of [0, 1])
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disks[index]!.bytes.slice() });
  await again.registry.waitForExamine();
  await until(() => arrayOf(again, 'a').numInSync === 2, 'the rebuild is done');
  await arrayOf(again, 'a').processEnded;
  const rebuild = arrayOf(again, 'a').history.find(({ type }) => type === 'rebuild');
  expect(rebuild!.seconds).toBeGreaterThanOrEqual(4711);
});

it('a resync does not vouch for what went wrong behind it', async () => {
  const { disks: before, volume } = await build('raid5f', 3, { mebibytes: 4 });
  // The writes go to the first region and to the last one.
  await volume.write(0, blocks(64, 1));
  await volume.write(volume.numBlocks - 64, blocks(64, 1));
  // After this crash both regions must be resynchronised.
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, { bytes }] of before.entries()) {
    const { disk } = await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() });
    const isLast = (block: number): boolean => block >= 2048 + 3 * 2048;
    disk.fault = (io) => (io.type === IoType.Read && isLast(io.offsetBlocks) ? null : Status.Ok);
    disks.push(disk);
  }
  await rig.registry.waitForExamine();
  const array = arrayOf(rig, 'a');
  await until(
    () => disks.some(({ held }) => held.length > 0) && array.process!.offsetBlocks > 3 * 2 * 2048 - 4096,
    'the first region is done',
  );
  // A write there fails on two members.
  const users = openVolume(rig, 'a');
  for (const disk of disks.slice(0, 2))
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
  await expect(users.write(0, blocks(64, 2))).rejects.toThrow(/EIO/);
  for (const disk of disks) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  }
  await until(() => array.history.length > 0, 'the resync has ended');
  expect(array.history[0]).toMatchObject({ type: 'resync', error: null });
  expect(array.bitmap!.regionsToResync).toBe(1);
  users.descriptor.close();
});

it('limits of a process, and where a check begins, are refused unless they are whole numbers in range', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  disks[0]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? null : Status.Ok);
  for (const from of [-1, 1.5, NaN, 1 << 30]) {
    expect(() => rig.arrays.startSync('a', 'check', { from })).toThrow(/array a: a check must start at block 0 to/);
  }
  expect(() => rig.arrays.startSync('a', 'check', { maxBandwidthMbSec: -1 })).toThrow(/maxBandwidthMbSec is -1; it must be/);
  rig.arrays.startSync('a', 'check');
  await until(() => disks[0]!.held.length > 0, 'the check is at work');
  const limit = (limits: object) => () => rig.arrays.limitProcess('a', limits);
  for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 32, '7']) {
    for (const field of ['maxBandwidthMbSec', 'minBandwidthMbSec'])
      expect(limit({ [field]: bad })).toThrow(
        `array a: ${field} is ${String(bad)}; it must be a whole number from 0 (no limit) to 4294967295`,
      );
  }
  expect(limit({ offsetBlocks: 7 })).toThrow('a process has no limit offsetBlocks');
  limit({ maxBandwidthMbSec: 2 ** 32 - 1, minBandwidthMbSec: 0 })();
  limit({ minBandwidthMbSec: null })();
  expect(arrayOf(rig, 'a').process).toMatchObject({ maxBandwidthMbSec: 2 ** 32 - 1, minBandwidthMbSec: null });
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await arrayOf(rig, 'a').processEnded;
});

it('a process that rests to keep its limit ends when it is stopped, and does not keep an array or a device that goes', async () => {
  const { rig, volume } = await build('raid1', 2, { mebibytes: 17 });
  const windowBlocks = 4 * 2048;
  for (let at = 0; at < volume.descriptor.bdev.numBlocks; at += windowBlocks) await volume.write(at, blocks(8, 1));
  // The four that are worked on at once are the work of an hour; there is one more.
  rig.arrays.setProcessOptions({ windowSizeKb: 4 * 1024, maxBandwidthMbSec: 1 / 256, minBandwidthMbSec: 2 ** 30 });
  const array = arrayOf(rig, 'a');
  const rests = async (): Promise<void> => {
    await until(() => array.process?.offsetBlocks === 4 * windowBlocks, 'four windows are done');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const { bdev } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: new Uint8Array(18 * MiB) });
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.addBaseBdev('a', 'm9');
  await rests();
  await rig.registry.unregister(bdev);
  await array.processEnded;
  expect(array.history[0]?.error).toMatch(/m9 was removed/);
  rig.arrays.startSync('a', 'check');
  await rests();
  volume.descriptor.close();
  await rig.arrays.stop();
});
