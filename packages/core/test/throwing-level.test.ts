import { RangeLocks } from '@raidkit/core';
import { IoType, Status } from '@raidkit/bdev';
import type { AnyWriteRequest, CopiesModule, ParityModule } from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const badBlock = 100;
const heldBlock = 200;
/** This block is in another region. */
const halfDoneBlock = 2048 + 200;
const places = [
  'at once',
  'after a part',
  'with a lock',
  'when it is let go',
  'while it is held',
  'at a slot that is not there',
] as const;
type Place = (typeof places)[number];

/**
 * Mirrors, of which a write to one block goes to the first member only, and then throws. `null`: without that. `held`: writes to
 * another block are put there, and wait; to a third one when one member has taken them.
 */
function fragile(place: Place | null, held: AnyWriteRequest[] = []): CopiesModule {
  const locks = new RangeLocks();
  const throwUp = (): never => {
    throw new Error('a slip of the author’s');
  };
  const spoil = (request: AnyWriteRequest): void => {
    if (request.kind === 'write') request.writePart(0, request.offsetBlocks, request.numBlocks, request.addr);
    if (place === 'at once') throwUp();
    if (place === 'at a slot that is not there' && request.kind === 'write')
      request.writePart(9, request.offsetBlocks, request.numBlocks, request.addr);
    if (place === 'after a part') request.andThen(throwUp);
    if (place === 'with a lock') request.lock(locks, 0, 1, 'exclusive', throwUp);
    if (place === 'while it is held') {
      request.hold(() => undefined);
      throwUp();
    }
    if (place !== 'when it is let go') return;
    request.hold(throwUp);
    setImmediate(() => request.release());
  };
  return {
    ...raid1,
    level: 'fragile',
    aliases: [],
    code: 0x1240,
    start(context) {
      const level = raid1.start(context);
      return {
        copyGroups: [[0, 1]],
        resize: (capacities, current) => level.resize(capacities, current),
        submitRw(request) {
          if (place !== null && request.kind === 'write' && request.offsetBlocks === badBlock) spoil(request);
          else if (place !== null && request.kind === 'write' && [heldBlock, halfDoneBlock].includes(request.offsetBlocks)) {
            if (request.offsetBlocks === halfDoneBlock) request.writePart(0, halfDoneBlock, 1, request.addr);
            request.hold(() => level.submitRw(request));
            held.push(request);
          } else level.submitRw(request);
        },
        submitNullPayload: (request) => level.submitNullPayload?.(request),
        submitProcessRequest: (request) => level.submitProcessRequest(request),
      };
    },
  };
}

async function plugInAll(rig: Rig, images: readonly Uint8Array[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  return disks;
}

it.each(places)('a level that throws (%s) takes its own array down, and nothing else', async (place) => {
  const rig = newRig();
  rig.arrays.modules.register(fragile(place));
  const disks = await plugInAll(
    rig,
    Array.from({ length: 4 }, () => new Uint8Array(2 * MiB)),
  );
  await rig.arrays.create({ name: 'a', level: 'fragile', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m2', 'm3'], superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(512, 1));
  await expect(volume.write(badBlock, blocks(1, 2))).rejects.toThrow();
  volume.descriptor.close();
  await until(() => arrayOf(rig, 'a').lifecycle.phase === 'offline', 'it is offline');
  expect(rig.events).toContainEqual(
    expect.objectContaining({
      type: 'arrayOffline',
      array: 'a',
      reason: expect.stringMatching(/^its level fragile threw: (a slip of the author’s|.*slot 9)/) as string,
    }),
  );
  const other = openVolume(rig, 'b');
  await other.write(0, blocks(8, 3));
  expect(Buffer.from(await other.read(0, 8)).equals(blocks(8, 3))).toBe(true);
  other.descriptor.close();
  // Writes that it left incomplete make redundancy inconsistent at the next start, with a fixed level.
  const again = newRig();
  again.arrays.modules.register(fragile(null));
  const copies = await plugInAll(
    again,
    disks.slice(0, 2).map(({ bytes }) => bytes.slice()),
  );
  await until(() => again.arrays.get('a')?.state === 'online', 'it is online');
  await until(() => arrayOf(again, 'a').process === null && arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
  const [first, second] = copies.map(({ bytes }) => bytes.subarray(MiB, MiB + 512 * 512));
  expect(Buffer.from(first!).equals(second!)).toBe(true);
});

it('what a level that throws has put aside ends, and is not begun when it is let go too late', async () => {
  const rig = newRig();
  const held: AnyWriteRequest[] = [];
  rig.arrays.modules.register(fragile('at once', held));
  const disks = await plugInAll(
    rig,
    Array.from({ length: 4 }, () => new Uint8Array(2 * MiB)),
  );
  await rig.arrays.create({ name: 'a', level: 'fragile', baseBdevs: ['m0', 'm1'], superblock: true });
  await rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m2', 'm3'], superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(512, 1));
  const putAside = [volume.write(heldBlock, blocks(1, 2)), volume.write(heldBlock, blocks(1, 3))];
  await until(() => held.length === 2, 'two writes are held');
  // The continuation of another request holds one more request after it has thrown.
  const refused = Promise.allSettled([volume.write(badBlock, blocks(1, 4)), volume.write(heldBlock, blocks(1, 5))]);
  for (const write of putAside) await expect(write).rejects.toThrow();
  for (const { status } of await refused) expect(status).toBe('rejected');
  volume.descriptor.close();
  await until(() => arrayOf(rig, 'a').lifecycle.phase === 'offline', 'it is offline');
  const before = disks.map(({ bytes }) => bytes.slice());
  const other = openVolume(rig, 'b');
  const read = other.read(0, 8);
  for (const request of held) request.release();
  await read;
  other.descriptor.close();
  expect(disks.every(({ bytes }, index) => Buffer.from(bytes).equals(before[index]!))).toBe(true);
  await rig.arrays.delete('a');
});

it('what it has put aside half done is in doubt at the next start', async () => {
  const rig = newRig();
  const held: AnyWriteRequest[] = [];
  rig.arrays.modules.register(fragile('at once', held));
  const images = Array.from({ length: 2 }, () => new Uint8Array(4 * MiB));
  const disks = await plugInAll(rig, images);
  await rig.arrays.create({ name: 'a', level: 'fragile', baseBdevs: ['m0', 'm1'], superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(halfDoneBlock - 8, blocks(8, 1));
  const putAside = Promise.allSettled([volume.write(halfDoneBlock, blocks(1, 2))]);
  await until(() => held.length === 1, 'a write is held');
  await expect(volume.write(badBlock, blocks(1, 3))).rejects.toThrow();
  expect(await putAside).toMatchObject([{ status: 'rejected' }]);
  volume.descriptor.close();
  await until(() => arrayOf(rig, 'a').lifecycle.phase === 'offline', 'it is offline');
  const again = newRig();
  again.arrays.modules.register(fragile(null));
  const copies = await plugInAll(
    again,
    disks.map(({ bytes }) => bytes.slice()),
  );
  await until(() => again.arrays.get('a')?.state === 'online', 'it is online');
  await until(() => arrayOf(again, 'a').process === null && arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
  const [first, second] = copies.map(({ bytes }) => bytes.subarray(2 * MiB, 3 * MiB));
  expect(Buffer.from(first!).equals(second!)).toBe(true);
});

it('a level that throws in its start and again when it is stopped says the first, and holds nothing', async () => {
  const rig = newRig();
  const level: CopiesModule = {
    ...raid1,
    level: 'never-starts',
    aliases: [],
    code: 0x1241,
    start(context) {
      const mirror = raid1.start(context);
      return {
        ...mirror,
        copyGroups: [[0, 1]],
        resize: () => {
          throw new Error('the first slip');
        },
        submitRw: (request) => mirror.submitRw(request),
        submitNullPayload: (request) => mirror.submitNullPayload?.(request),
        submitProcessRequest: (request) => mirror.submitProcessRequest(request),
        stop: () => {
          throw new Error('the second slip');
        },
      };
    },
  };
  rig.arrays.modules.register(level);
  await plugInAll(rig, [new Uint8Array(3 * MiB), new Uint8Array(3 * MiB)]);
  const create = { name: 'a', baseBdevs: ['m0', 'm1'], superblock: true };
  await expect(rig.arrays.create({ ...create, level: 'never-starts' })).rejects.toThrow(/the first slip/);
  expect(rig.arrays.list()).toEqual([]);
  await rig.arrays.create({ ...create, level: 'raid1' });
  expect(arrayOf(rig, 'a').state).toBe('online');
  await rig.arrays.stop();
});

it('a level that journals what it must not has its request ended, and can be stopped', async () => {
  const rig = newRig();
  const level: ParityModule = {
    ...raid5f,
    level: 'journals-nothing',
    aliases: [],
    code: 0x1242,
    start(context) {
      const parity = raid5f.start(context);
      return {
        resize: (capacities, current) => parity.resize(capacities, current),
        submitRw(request) {
          if (request.kind === 'write' && request.journalSlots.length > 0)
            request.journal([{ offsetBlocks: request.offsetBlocks, numBlocks: 0, addr: request.addr }]);
          else parity.submitRw(request);
        },
        submitNullPayload: (request) => parity.submitNullPayload?.(request),
        submitProcessRequest: (request) => parity.submitProcessRequest(request),
        redundantSlots: (stripe) => parity.redundantSlots(stripe),
        onJournaled: (request: AnyWriteRequest, status: Status) => parity.onJournaled(request, status),
        stop: () => parity.stop?.(),
      };
    },
  };
  rig.arrays.modules.register(level);
  await plugInAll(
    rig,
    [0, 1, 2].map(() => new Uint8Array(3 * MiB)),
  );
  const baseBdevs = ['m0', 'm1', 'm2'];
  await rig.arrays.create({ name: 'a', level: 'journals-nothing', baseBdevs, stripSizeKb: 16, superblock: true });
  const volume = openVolume(rig, 'a');
  await rig.arrays.removeBaseBdev('m0');
  await expect(volume.write(0, blocks(8, 1))).rejects.toThrow(/EIO/);
  await until(() => arrayOf(rig, 'a').state === 'offline', 'the array is offline');
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.arrays.iosOutstanding).toBe(0);
});

/** raid5f, whose `redundantSlots` is `answer` from its second call on in each start, or from the first. */
function confused(answer: (() => unknown) | null, from = 1): ParityModule {
  return {
    ...raid5f,
    level: 'confused',
    aliases: [],
    code: 0x1243,
    start(context) {
      const parity = raid5f.start(context);
      let calls = 0;
      return {
        resize: (capacities, current) => parity.resize(capacities, current),
        submitRw: (request) => parity.submitRw(request),
        submitNullPayload: (request) => parity.submitNullPayload?.(request),
        submitProcessRequest: (request) => parity.submitProcessRequest(request),
        redundantSlots: (stripe) =>
          answer === null || calls++ < from ? parity.redundantSlots(stripe) : (answer() as readonly number[]),
        onJournaled: (request: AnyWriteRequest, status: Status) => parity.onJournaled(request, status),
        stop: () => parity.stop?.(),
      };
    },
  };
}

const wrongAnswers: [what: string, answer: () => unknown, reason: RegExp][] = [
  [
    'throws',
    () => {
      throw new Error('a slip of the author’s');
    },
    /a slip of the author’s$/,
  ],
  ['says nothing', () => undefined, /redundantSlots\(\d+\) is undefined, and must be 1 to 2 different slots of 0 to 2$/],
  ['names no slot', () => [], /redundantSlots\(\d+\) is \[\]/],
  ['names a slot that is not there', () => [3], /redundantSlots\(\d+\) is \[3\]/],
  ['names a slot twice', () => [1, 1], /redundantSlots\(\d+\) is \[1, 1\]/],
  ['names all slots', () => [0, 1, 2], /redundantSlots\(\d+\) is \[0, 1, 2\]/],
];

describe.each(wrongAnswers)('a level that %s, asked where its parity is', (_, answer, reason) => {
  const create = { name: 'a', level: 'confused', baseBdevs: ['m0', 'm1', 'm2'], stripSizeKb: 16, superblock: true };
  const empty = (): Uint8Array[] => [0, 1, 2].map(() => new Uint8Array(3 * MiB));

  it('is refused when an array is created', async () => {
    const rig = newRig();
    rig.arrays.modules.register(confused(answer, 0));
    await plugInAll(rig, empty());
    await expect(rig.arrays.create(create)).rejects.toThrow(reason);
    expect(rig.arrays.list()).toEqual([]);
  });

  it('takes its array offline, and the resync is still to be done', async () => {
    const rig = newRig();
    rig.arrays.modules.register(confused(null));
    const disks = await plugInAll(rig, empty());
    await rig.arrays.create(create);
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(64, 1));
    // The machine stops while the region is being written.
    const images = disks.map(({ bytes }) => bytes.slice());
    volume.descriptor.close();
    const second = newRig();
    second.arrays.modules.register(confused(answer));
    const copies = await plugInAll(second, images);
    await until(
      () => second.arrays.get('a') !== undefined && arrayOf(second, 'a').lifecycle.phase === 'offline',
      'it is offline',
    );
    expect(second.events).toContainEqual(
      expect.objectContaining({ type: 'arrayOffline', array: 'a', reason: expect.stringMatching(reason) as string }),
    );
    const third = newRig();
    third.arrays.modules.register(confused(null));
    await plugInAll(
      third,
      copies.map(({ bytes }) => bytes.slice()),
    );
    await until(() => third.arrays.get('a')?.state === 'online', 'it is online again');
    expect(third.events).toContainEqual(expect.objectContaining({ type: 'processStarted', array: 'a', process: 'resync' }));
  });

  it('does not start its array while entries of the journal are to be written again, and loses none of them', async () => {
    const rig = newRig();
    rig.arrays.modules.register(confused(null));
    const disks = await plugInAll(rig, empty());
    await rig.arrays.create(create);
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(64, 1));
    await rig.arrays.removeBaseBdev('m0');
    await volume.flush();
    // The machine stops when the journal has the write, and no member has it.
    const left = disks.slice(1);
    for (const disk of left)
      disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= 2048 ? null : Status.Ok);
    const written = volume.write(0, blocks(64, 2));
    await until(() => left.some(({ held }) => held.length > 0), 'the write is under way');
    const images = left.map(({ bytes }) => bytes.slice());
    for (const disk of left) disk.fault = () => Status.Ok;
    for (const disk of left) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await written;
    volume.descriptor.close();
    const restart = async (level: ParityModule): Promise<Rig> => {
      const next = newRig();
      next.arrays.modules.register(level);
      for (const [index, bytes] of images.entries()) {
        const name = `m${index + 1}`;
        await plugIn(next.registry, { name, uuid: memberUuid(index + 1), bytes });
      }
      return next;
    };
    const second = await restart(confused(answer));
    await expect(second.arrays.startDegraded('a')).rejects.toThrow(/threw an exception while the array was being started/);
    const third = await restart(confused(null));
    if (third.arrays.get('a')?.state !== 'online') await third.arrays.startDegraded('a');
    const volumeAgain = openVolume(third, 'a');
    const bytes = await volumeAgain.read(0, 64);
    for (let block = 0; block < 64; block++) expect([1, 2]).toContain(bytes[block * 512]);
    volumeAgain.descriptor.close();
  });
});
