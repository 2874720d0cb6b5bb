import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { arrayOf, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import {
  MiB,
  dataBytes,
  expectContents,
  expectOnMembers,
  fullPicture,
  made,
  scribble,
  settled,
  strip,
} from './support/array.js';

const members = 5;

interface Bench extends Awaited<ReturnType<typeof made>> {
  data: Uint8Array;
}

/** Without slots 1 and 3, which have missed a few writes. What was on their disks is gone from byte `from` on. */
async function lacksTwo(from: number): Promise<Bench> {
  const { rig, disks } = await made(members);
  // The process covers one stripe at a time.
  rig.arrays.setProcessOptions({ windowSizeKb: 12 });
  const data = new Uint8Array((members - 2) * dataBytes);
  await fullPicture(rig, data);
  await scribble(rig, data, 1);
  for (const name of ['m1', 'm3']) await rig.arrays.removeBaseBdev(name);
  await scribble(rig, data, 2);
  for (const index of [1, 3]) disks[index]!.bytes.fill(0xdb, from);
  rig.events.length = 0;
  return { rig, disks, data };
}

function addBoth(rig: Rig): Promise<unknown> {
  return Promise.all([rig.arrays.addBaseBdev('a', 'm1'), rig.arrays.addBaseBdev('a', 'm3')]);
}

function passes({ events }: Rig): unknown[] {
  return events
    .filter(({ type }) => type === 'processStarted' || type === 'processFinished')
    .map((event) => ('targets' in event ? [event.type, event.targets.join(), 'error' in event ? event.error : ''] : []));
}

function inSync(rig: Rig): string {
  return arrayOf(rig, 'a')
    .slots.filter((slot) => slot.isInSync)
    .map(({ name }) => name)
    .join();
}

it.each([
  ['blank', 0],
  ['former', Infinity],
])('two %s members that come at once are filled in one pass', async (_, from) => {
  const { rig, disks, data } = await lacksTwo(Math.min(from, MiB + dataBytes));
  for (const disk of disks) disk.log.length = 0;
  await addBoth(rig);
  await settled(rig);
  expect(passes(rig)).toEqual([
    ['processStarted', 'm1,m3', ''],
    ['processFinished', 'm1,m3', null],
  ]);
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'rebuild', target: 'm1', targets: ['m1', 'm3'], error: null });
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});

it('each block of the others is read once for two members that are filled', async () => {
  const { rig, disks } = await lacksTwo(0);
  const read = new Array<number>(dataBytes / 512).fill(0);
  disks[0]!.fault = ({ numBlocks, offsetBlocks, type }) => {
    const first = offsetBlocks - MiB / 512;
    if (type === IoType.Read && first >= 0) for (let i = first; i < first + numBlocks; i++) read[i]!++;
    return Status.Ok;
  };
  await addBoth(rig);
  await settled(rig);
  expect(inSync(rig)).toBe('m0,m1,m2,m3,m4');
  expect(new Set(read)).toEqual(new Set([1]));
});

it.each([
  ['fails', (rig: Rig, io: () => void): number => (io(), Status.IoError)],
  [
    'is taken out',
    (rig: Rig, io: () => void): number => {
      io();
      void rig.arrays.removeBaseBdev('m1');
      return Status.Ok;
    },
  ],
])('of two that are filled one %s, and the other one gets to its end', async (_, strike) => {
  const { rig, disks, data } = await lacksTwo(0);
  let hasStruck = false;
  disks[1]!.fault = ({ offsetBlocks, type }) => {
    if (hasStruck || type !== IoType.Write || offsetBlocks < MiB / 512 + 60) return Status.Ok;
    return strike(rig, () => (hasStruck = true));
  };
  await addBoth(rig);
  await until(() => hasStruck, 'it was struck');
  await scribble(rig, data, 3);
  await settled(rig);
  expect(inSync(rig)).toBe('m0,m2,m3,m4');
  expect(passes(rig)).toEqual([
    ['processStarted', 'm1,m3', ''],
    ['processFinished', 'm3', null],
  ]);
  await expectContents(rig, data);
  // The other one holds what it should: it is read in the place of one of those that it came from.
  await rig.arrays.removeBaseBdev('m4');
  await expectContents(rig, data);
  await rig.arrays.addBaseBdev('a', 'm4');
  await settled(rig);
  await rig.arrays.addBaseBdev('a', 'm1');
  await settled(rig);
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});

it('a slot whose target has left the pass takes another device when the pass is over, and not before', async () => {
  const { rig, disks, data } = await lacksTwo(0);
  let isHeld = false;
  disks[3]!.fault = ({ offsetBlocks, type }) => {
    if (isHeld || type !== IoType.Write || offsetBlocks < MiB / 512 + 60) return Status.Ok;
    isHeld = true;
    return null;
  };
  await addBoth(rig);
  await until(() => isHeld, 'the pass is under way');
  await rig.arrays.removeBaseBdev('m1');
  expect(arrayOf(rig, 'a').slots[1]!.hasDevice).toBe(false);
  expect(arrayOf(rig, 'a').process?.targets.map(({ name }) => name)).toEqual(['m3']);
  // It lacks everything, as a rebuild target does.
  disks[1]!.bytes.fill(0);
  await expect(rig.arrays.addBaseBdev('a', 'm1')).rejects.toMatchObject({ code: 'ERR_RAID_BUSY' });
  const [held] = disks[3]!.held;
  disks[3]!.finish(held!, Status.Ok);
  await settled(rig);
  await rig.arrays.addBaseBdev('a', 'm1');
  await settled(rig);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});

it('a member that lacks little does not wait for one that lacks everything', async () => {
  const { rig, disks, data } = await lacksTwo(MiB + dataBytes);
  disks[1]!.bytes.fill(0);
  const results = await Promise.allSettled([rig.arrays.addBaseBdev('a', 'm3'), rig.arrays.addBaseBdev('a', 'm1')]);
  await settled(rig);
  for (const [index, name] of ['m3', 'm1'].entries())
    if (results[index]!.status === 'rejected') await rig.arrays.addBaseBdev('a', name);
  await settled(rig);
  expect(passes(rig).map((pass) => (pass as string[])[1])).not.toContain('m1,m3');
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});

it('two spares take the places of two members that fail together, in one pass', async () => {
  const { rig, disks } = await made(members, 2);
  const data = new Uint8Array((members - 2) * dataBytes);
  await fullPicture(rig, data);
  await scribble(rig, data, 1);
  for (const spare of ['m5', 'm6']) await rig.arrays.addSpare(spare);
  await Promise.all([rig.arrays.failMember('a', 1, 'it is old'), rig.arrays.failMember('a', 3, 'it is old')]);
  await until(() => inSync(rig).split(',').length === members, 'the spares are in');
  await settled(rig);
  expect(passes(rig)).toEqual([
    ['processStarted', expect.stringMatching(/^m[56],m[56]$/), ''],
    ['processFinished', expect.stringMatching(/^m[56],m[56]$/), null],
  ]);
  expect(rig.arrays.listSpares()).toEqual([]);
  await expectContents(rig, data);
  const [, first, , second] = arrayOf(rig, 'a').slots.map(({ name }) => disks[Number(name?.slice(1))]!);
  expectOnMembers([disks[0]!, first!, disks[2]!, second!, disks[4]!], data);
  await rig.arrays.stop();
});

it('where two are filled, blocks that cannot be worked out are bad on both, and all else is there', async () => {
  const { rig, disks, data } = await lacksTwo(0);
  const bad = MiB / 512 + 13;
  disks[0]!.fault = ({ numBlocks, offsetBlocks, type }) =>
    type === IoType.Read && offsetBlocks <= bad && bad < offsetBlocks + numBlocks ? Status.IoError : Status.Ok;
  await addBoth(rig);
  await settled(rig);
  expect(inSync(rig)).toBe('m0,m1,m2,m3,m4');
  const { badBlocks, history } = arrayOf(rig, 'a');
  expect([1, 3].map((slot) => badBlocks.rangesOf(slot))).toEqual([[{ start: 13, end: 14 }], [{ start: 13, end: 14 }]]);
  expect(history[0]).toMatchObject({ lostBlocks: 2, error: null });
  disks[0]!.fault = () => Status.Ok;
  await fullPicture(rig, data);
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});

it('a read that has waited since an earlier rebuild does not take a new member for the one that was filled', async () => {
  const { rig, disks } = await made(members);
  rig.arrays.setProcessOptions({ windowSizeKb: 12 });
  const data = new Uint8Array((members - 2) * dataBytes);
  await fullPicture(rig, data.fill(0x22));
  for (const name of ['m0', 'm1']) await rig.arrays.removeBaseBdev(name);
  disks[1]!.bytes.fill(0);
  const dataStart = MiB / 512;
  disks[1]!.fault = ({ offsetBlocks, type }) => {
    if (type === IoType.Write && offsetBlocks >= dataStart + 6 * strip && arrayOf(rig, 'a').process?.isPaused === false)
      rig.arrays.pauseProcess('a');
    return Status.Ok;
  };
  await rig.arrays.addBaseBdev('a', 'm1');
  const { arrayBlocks } = arrayOf(rig, 'a').stripe();
  await until(() => (arrayOf(rig, 'a').process?.offsetBlocks ?? 0) > 2 * arrayBlocks, 'two stripes are filled');
  // Of stripe 1 data is on slots 0 to 2. A write to slot 2 takes long, and a read of what was on slot 0 waits for it.
  disks[2]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= dataStart ? null : Status.Ok);
  const volume = openVolume(rig, 'a');
  const written = volume.write(arrayBlocks + 2 * strip, new Uint8Array(512).fill(0x33));
  await until(() => disks[2]!.held.length === 1, 'the write is held');
  const read = volume.read(arrayBlocks, 1);
  await rig.arrays.failMember('a', 1, 'it is old');
  // It returns to its slot, without any data.
  disks[1]!.bytes.fill(0);
  disks[1]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= dataStart ? null : Status.Ok);
  await rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(rig, 'a').process !== null, 'another rebuild has begun');
  disks[2]!.fault = () => Status.Ok;
  disks[2]!.finish(disks[2]!.held[0]!, Status.Ok);
  await written;
  expect(new Set(await read)).toEqual(new Set([0x22]));
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held) disks[1]!.finish(io, Status.Ok);
  await settled(rig);
  volume.descriptor.close();
  await rig.arrays.stop();
});
