import { stat } from 'node:fs';
import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { CutMode, Fate } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { taggedBlocks, tagsOf } from '../../../test/support/block-model.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, takeMemory, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { SparseMachine } from '../../../test/support/sparse-machine.js';

const MiB = 1 << 20;
const blockSize = 512;

async function build(
  level: string,
  members: number,
  ioTimeoutMs: number,
  memoryBytes = 64 * MiB,
  integrity = false,
  { checksumCacheBytes = MiB, memberBytes = 3 * MiB } = {},
): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig({ memoryBytes, checksumCacheBytes });
  rig.arrays.setMemberOptions({ ioTimeoutMs });
  const disks: RamDisk[] = [];
  for (let index = 0; index < members; index++) {
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(memberBytes) })).disk,
    );
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({
    name: 'a',
    level,
    baseBdevs: disks.map((_, index) => `m${index}`),
    superblock: true,
    integrity,
    ...strip,
  });
  return { rig, disks };
}

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)('%s goes on without a member that does not answer; what it does late does no harm', async (level, members) => {
  const { rig, disks } = await build(level, members, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 256, 1, blockSize));
  const [stuck] = disks;
  stuck!.fault = (io) => (io.offsetBlocks >= 2048 && io.type !== IoType.Flush ? null : Status.Ok);
  const reads = Array.from({ length: 8 }, (_, i) => volume.read(i * 32, 32));
  const writes = Array.from({ length: 4 }, (_, i) => volume.write(i * 50, taggedBlocks(i * 50, 20, 2, blockSize)));
  for (const [i, data] of (await Promise.all(reads)).entries()) tagsOf(data, i * 32, blockSize, 'a read meanwhile');
  await Promise.all(writes);
  expect(rig.events.map(({ type }) => type)).toEqual(expect.arrayContaining(['memberUnresponsive', 'memberFailed']));
  expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
  await expect(rig.arrays.addBaseBdev('a', 'm0')).rejects.toThrow(/still has \d+ I\/Os in flight/);
  // The disk responds at last, with junk for readers, while others use their buffers.
  const busy = Array.from({ length: 8 }, (_, i) => volume.read(i * 32, 32));
  stuck!.bytes.fill(0xee, MiB);
  for (const io of stuck!.held.splice(0)) stuck!.finish(io, Status.Ok);
  for (const [i, data] of (await Promise.all(busy)).entries()) tagsOf(data, i * 32, blockSize, 'a read at the same time');
  const tags = tagsOf(await volume.read(0, 256), 0, blockSize, 'afterwards');
  tags.forEach((tag, block) => expect(tag).toBe(block % 50 < 20 && block < 200 ? 2 : 1));
  // Now the device may be used again, and is rebuilt.
  stuck!.fault = () => Status.Ok;
  await until(() => arrayOf(rig, 'a').slots[0]!.descriptor === null, 'it is let go');
  await rig.arrays.addBaseBdev('a', 'm0');
  await until(() => arrayOf(rig, 'a').numInSync === members, 'it is filled');
});

/** Makes the disk hold all I/O, and returns a function that releases it, the held I/O first. */
function hang(disk: RamDisk, isHeld: (io: BdevIo) => boolean = () => true): () => void {
  disk.fault = (io) => (isHeld(io) ? null : Status.Ok);
  return () => {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  };
}

it.each([
  ['raid1', 2, ''],
  ['raid5f', 3, ''],
  ['raid1', 2, ' with checksums'],
  ['raid5f', 3, ' with checksums'],
] as const)(
  '%s of %d%s goes on when a member hangs at the first write to a region that is clean, and the device can be deleted',
  async (level, members, integrity) => {
    const { rig, disks } = await build(level, members, 300, 64 * MiB, integrity !== '');
    const first = openVolume(rig, 'a');
    await first.write(0, taggedBlocks(0, 64, 1, blockSize));
    first.descriptor.close();
    // A clean stop and start leaves no region dirty.
    await rig.arrays.delete('a');
    for (const [index] of disks.entries()) await rig.arrays.examine(rig.registry.get(`m${index}`)!);
    await until(() => arrayOf(rig, 'a').state === 'online', 'it is up again');
    expect(arrayOf(rig, 'a').bitmap?.count(RegionState.Clean)).toBe(1);
    const volume = openVolume(rig, 'a');
    hang(disks[0]!);
    await volume.write(8, taggedBlocks(8, 8, 2, blockSize));
    await volume.flush();
    expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
    // The next write and the deletion meet nothing that waits for it either.
    await volume.write(1024, taggedBlocks(1024, 8, 3, blockSize));
    await rig.registry.unregister(rig.registry.get('m0')!);
    expect(tagsOf(await volume.read(0, 24), 0, blockSize, 'afterwards')).toEqual([
      ...Array<number>(8).fill(1),
      ...Array<number>(8).fill(2),
      ...Array<number>(8).fill(1),
    ]);
  },
);

it.each(['', ' with checksums'])('a raid0%s whose members hang at a first write can be stopped', async (integrity) => {
  const { rig, disks } = await build('raid0', 2, 60, 64 * MiB, integrity !== '');
  const volume = openVolume(rig, 'a');
  for (const disk of disks) hang(disk);
  const told = expect(volume.write(0, taggedBlocks(0, 64, 1, blockSize))).rejects.toThrow();
  await until(() => disks.every(({ held }) => held.length > 0), 'they hang');
  volume.descriptor.close();
  await rig.arrays.delete('a');
  await told;
});

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)('%s goes on when a member hangs at a flush alone', async (level, members) => {
  const { rig, disks } = await build(level, members, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 64, 1, blockSize));
  hang(disks[0]!, ({ type }) => type === IoType.Flush);
  await volume.flush();
  expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
});

it('a mirror goes on when the superblock of a member cannot be written, for it hangs', async () => {
  const { rig, disks } = await build('raid1', 3, 300);
  hang(disks[0]!, ({ type, offsetBlocks }) => type === IoType.Write && offsetBlocks === 0);
  await rig.arrays.removeBaseBdev('m2');
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 64, 1, blockSize));
  expect(arrayOf(rig, 'a').slots.map((slot) => slot.isInSync)).toEqual([false, true, false]);
});

it('an entry of the journal that hangs is waited for: the array cannot do without its member', async () => {
  const { rig, disks } = await build('raid5f', 3, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 512, 1, blockSize));
  await rig.arrays.removeBaseBdev('m2');
  const release = hang(
    disks[0]!,
    ({ type, offsetBlocks }) => type === IoType.Write && offsetBlocks >= 1024 && offsetBlocks < 2048,
  );
  const starts = Array.from({ length: 8 }, (_, stripe) => stripe * 64);
  const written = Promise.all(starts.map((start) => volume.write(start, taggedBlocks(start, 64, 2, blockSize))));
  await until(() => rig.events.some(({ type }) => type === 'memberUnresponsive'), 'an entry hangs');
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(arrayOf(rig, 'a').state).toBe('online');
  release();
  await written;
  expect(tagsOf(await volume.read(0, 512), 0, blockSize, 'afterwards')).toEqual(Array(512).fill(2));
});

it.each([
  ['raid1', 2],
  ['raid1', 3],
  ['raid5f', 3],
  ['raid0', 2],
  ['concat', 2],
] as const)('%s of %i waits when no member answers any more, and loses none of them', async (level, members) => {
  const { rig, disks } = await build(level, members, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 256, 1, blockSize));
  const release = disks.map((disk) => hang(disk));
  const work = [
    volume.write(0, taggedBlocks(0, 128, 2, blockSize)),
    volume.flush(),
    volume.write(128, taggedBlocks(128, 128, 2, blockSize)),
  ];
  await until(() => arrayOf(rig, 'a').slots.every(({ isUnresponsive }) => isUnresponsive), 'all are unresponsive');
  await new Promise((resolve) => setTimeout(resolve, 700));
  expect([arrayOf(rig, 'a').state, arrayOf(rig, 'a').numInSync]).toEqual(['online', members]);
  for (const answer of release) answer();
  await Promise.all(work);
  expect([arrayOf(rig, 'a').state, arrayOf(rig, 'a').numInSync]).toEqual(['online', members]);
  expect(tagsOf(await volume.read(0, 256), 0, blockSize, 'afterwards')).toEqual(Array(256).fill(2));
});

it('a member that becomes the last one while it is asked is waited for', async () => {
  const { rig, disks } = await build('raid1', 2, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 8, 1, blockSize));
  const release = hang(disks[0]!, (io) => io.type === IoType.Write && io.offsetBlocks >= 2048);
  const written = volume.write(0, taggedBlocks(0, 8, 2, blockSize));
  await until(() => disks[0]!.held.length > 0, 'it is asked');
  disks[1]!.fault = () => Status.IoError;
  await volume.flush();
  await new Promise((resolve) => setTimeout(resolve, 700));
  expect([arrayOf(rig, 'a').state, arrayOf(rig, 'a').numInSync]).toEqual(['online', 1]);
  release();
  await written;
  expect(tagsOf(await volume.read(0, 8), 0, blockSize, 'afterwards')).toEqual(Array(8).fill(2));
});

it('an array whose last member hangs can be deleted', async () => {
  const { rig, disks } = await build('raid0', 2, 40);
  const volume = openVolume(rig, 'a');
  hang(disks[0]!);
  const written = volume.write(0, taggedBlocks(0, 8, 1, blockSize));
  const failed = expect(written).rejects.toThrow();
  await until(() => disks[0]!.held.length > 0, 'it is asked');
  const deleted = rig.arrays.delete('a');
  await failed;
  volume.descriptor.close();
  await deleted;
  expect(rig.arrays.list()).toEqual([]);
});

it.each(['an entry of its journal', 'a mark in its journal', 'its data'])(
  'an array without a member, whose others hang at %s, can be deleted',
  async (what) => {
    const { rig, disks } = await build('raid5f', 3, 100);
    const volume = openVolume(rig, 'a');
    await volume.write(0, taggedBlocks(0, 192, 1, blockSize));
    await rig.arrays.removeBaseBdev('m1');
    // The journal is full, so that the next write needs a mark.
    if (what.startsWith('a mark'))
      for (let block = 32; block < 48; block++) await volume.write(block, taggedBlocks(block, 1, 2, blockSize));
    for (const disk of disks)
      hang(disk, ({ offsetBlocks }) =>
        what === 'its data' ? offsetBlocks >= 2048 : offsetBlocks >= 1024 && offsetBlocks < 2048,
      );
    const failed = expect(volume.write(50, taggedBlocks(50, 1, 3, blockSize))).rejects.toThrow();
    await until(() => disks.some(({ held }) => held.length > 0), 'it is asked');
    const deleted = rig.arrays.delete('a');
    await failed;
    volume.descriptor.close();
    await deleted;
    expect(rig.arrays.list()).toEqual([]);
  },
);

it('an array that cannot do without the member waits for it', async () => {
  const { rig, disks } = await build('raid1', 2, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 8, 1, blockSize));
  await rig.arrays.removeBaseBdev('m1');
  disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
  const written = volume.write(0, taggedBlocks(0, 8, 2, blockSize));
  await until(() => rig.events.some(({ type }) => type === 'memberUnresponsive'), 'it is unresponsive');
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(arrayOf(rig, 'a').state).toBe('online');
  disks[0]!.fault = () => Status.Ok;
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await written;
  expect(tagsOf(await volume.read(0, 8), 0, blockSize, 'afterwards')).toEqual(Array(8).fill(2));
});

it('a check reads nothing into what a member that was given up may still fill', async () => {
  const { rig, disks } = await build('raid1', 2, 300);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 64, 1, blockSize));
  disks[0]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? null : Status.Ok);
  let reads = 0;
  disks[1]!.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 && ++reads > 1 ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  await until(() => arrayOf(rig, 'a').numInSync === 1, 'it is given up');
  await new Promise((resolve) => setTimeout(resolve, 20));
  disks[1]!.fault = () => Status.Ok;
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.Ok);
  // The late answer arrives at the same moment, and is junk.
  disks[0]!.bytes.fill(0xee, MiB);
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  await until(() => arrayOf(rig, 'a').history.length > 0, 'the check has ended');
  expect(arrayOf(rig, 'a').history[0]?.mismatchBlocks).toBe(0);
});

/** raid5f of three with strips of 32 blocks, whose first member takes no write. */
async function buildStuck(): Promise<{ rig: Rig; stuck: RamDisk }> {
  const { rig, disks } = await build('raid5f', 3, 300, 256 * MiB);
  const [stuck] = disks;
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 4096, 7, blockSize));
  volume.descriptor.close();
  stuck!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
  return { rig, stuck: stuck! };
}

it('what a member has been given to write is not changed before it lets go of it', async () => {
  const { rig, stuck } = await buildStuck();
  const volume = openVolume(rig, 'a');
  // Each begins in a stripe whose parity it has, and ends in the next one.
  const writes = Array.from({ length: 20 }, (_, i) => volume.writeZeroes((i * 3 + 2) * 64 + 40, 40));
  await until(() => stuck.held.length === 20, 'it is asked');
  const dataOf = ({ addr, numBlocks }: (typeof stuck.held)[number]): Uint8Array =>
    rig.registry.runtime.memory.u8.slice(addr, addr + numBlocks * blockSize);
  const given = stuck.held.map((io) => ({ io, data: dataOf(io) }));
  await Promise.all(writes);
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  for (const { io, data } of given) expect(Buffer.compare(dataOf(io), data)).toBe(0);
  for (const io of stuck.held.splice(0)) stuck.finish(io, Status.Ok);
});

it('raid5f goes on although a member that does not answer has the buffers of as many writes as there may be', async () => {
  const { rig, stuck } = await buildStuck();
  const volume = openVolume(rig, 'a');
  // In stripes whose parity it has, and none behind another: those would be made as one.
  const starts = Array.from({ length: 160 }, (_, i) => (Math.floor(i / 4) * 3 + 2) * 64 + (i % 4) * 16);
  for (let round = 1; round <= 2; round++) {
    await Promise.all(starts.map((start) => volume.write(start, taggedBlocks(start, 8, round, blockSize))));
    expect(stuck.held.length).toBeGreaterThanOrEqual(64);
  }
  for (const start of starts)
    expect(tagsOf(await volume.read(start, 8), start, blockSize, 'meanwhile')).toEqual(Array(8).fill(2));
  for (const io of stuck.held.splice(0)) stuck.finish(io, Status.Ok);
  for (const start of starts)
    expect(tagsOf(await volume.read(start, 8), start, blockSize, 'afterwards')).toEqual(Array(8).fill(2));
});

it('an array records who is out although its users have all common buffers', async () => {
  const { rig, disks } = await build('raid5f', 3, 300);
  const volume = openVolume(rig, 'a');
  disks[0]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? null : Status.Ok);
  // There are more requests than buffers.
  await Promise.all(Array.from({ length: 400 }, (_, i) => volume.write(i * 9, taggedBlocks(i * 9, 9, 1, blockSize))));
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  for (const io of disks[0]!.held.splice(0)) disks[0]!.finish(io, Status.Ok);
  expect(tagsOf(await volume.read(0, 3600), 0, blockSize, 'afterwards')).toEqual(Array(3600).fill(1));
});

it.each([1000, 10_000])(
  'a member is neither late nor failed when its time limit is turned off while it hangs, after %i ms',
  async (after) => {
    const machine = new SparseMachine([3 * MiB, 3 * MiB]);
    await machine.boot();
    await machine.create('raid1', ['m0', 'm1']);
    const volume = machine.openVolume();
    await machine.until(volume.write(0, taggedBlocks(0, 8, 1, blockSize)));
    const [disk] = machine.disks;
    disk!.onSubmit = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= 2048 ? Fate.Drop : undefined);
    const written = volume.write(0, taggedBlocks(0, 8, 2, blockSize));
    written.catch(() => undefined);
    await machine.sleep(after);
    machine.arrays.setMemberOptions({ ioTimeoutMs: 0 });
    // The limit was 30 s when the write began.
    await machine.sleep(600_000);
    expect(machine.array.slots.map(({ isInSync, isUnresponsive }) => [isInSync, isUnresponsive])).toEqual([
      [true, false],
      [true, false],
    ]);
    machine.cut(CutMode.KeepAll);
  },
);

/** How the array gets buffers for what it writes while a device holds those that there are. */
const ways = ['with others, before the device lets go of them', 'when the device lets go of them, and there are no others'];

/** The time limit of this member's I/O is over. That of the others is long, so that a slow machine fails none of them. */
async function giveUp(rig: Rig, { held }: RamDisk, buffers: number): Promise<void> {
  await until(() => held.length >= buffers, 'it has all buffers');
  const slot = arrayOf(rig, 'a').slots[0]!;
  slot.descriptor!.expire();
  await until(() => !slot.isInSync, 'it is failed');
  await new Promise((resolve) => setTimeout(resolve, 20));
}

describe.each(ways)('an array whose member holds all buffers goes on %s', (way) => {
  const hasMemory = way === ways[0];
  const ioTimeoutMs = 20_000;

  it.each([
    ['raid1', 2],
    ['raid10', 4],
    ['raid5f', 3],
    ['raid6', 4],
  ] as const)('%s, buffers for pages of checksums', async (level, members) => {
    const { rig, disks } = await build(level, members, ioTimeoutMs, 64 * MiB, true, {
      checksumCacheBytes: 8192,
      memberBytes: 8 * MiB,
    });
    const [stuck] = disks;
    const volume = openVolume(rig, 'a');
    // All members have a part of each write, and each write has pages of its own.
    const count = Math.max(8, arrayOf(rig, 'a').stripe().arrayBlocks);
    const starts = [0, 1, 2].map((page) => Math.floor((volume.numBlocks * page) / 3 / count) * count);
    let tag = 0;
    const writeAll = async (): Promise<void> => {
      tag++;
      await Promise.all(starts.map((start) => volume.write(start, taggedBlocks(start, count, tag, blockSize))));
    };
    await writeAll();
    const { dataOffset, dataSize } = arrayOf(rig, 'a').slots[0]!;
    if (!hasMemory) takeMemory(rig);
    const release = hang(stuck!, (io) => io.type === IoType.Write && io.offsetBlocks >= dataOffset + dataSize);
    const written = (async () => {
      while (arrayOf(rig, 'a').numInSync === members) await writeAll();
      for (let more = 0; more < 4; more++) await writeAll();
    })();
    await giveUp(rig, stuck!, 2);
    const { length } = stuck!.held;
    if (!hasMemory) release();
    await written;
    // It is given no more of them.
    if (hasMemory) expect(stuck!.held).toHaveLength(length);
    expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
    for (const start of starts)
      expect(tagsOf(await volume.read(start, count), start, blockSize, 'afterwards')).toEqual(Array(count).fill(tag));
    if (hasMemory) release();
  });

  it('raid6, buffers for entries of the journal', async () => {
    const { rig, disks } = await build('raid6', 5, ioTimeoutMs);
    const [stuck] = disks;
    const volume = openVolume(rig, 'a');
    const starts = Array.from({ length: 128 }, (_, stripe) => stripe * 96);
    await volume.write(0, taggedBlocks(0, 96 * 128, 1, blockSize));
    await rig.arrays.removeBaseBdev('m4');
    if (!hasMemory) takeMemory(rig);
    const release = hang(
      stuck!,
      ({ type, offsetBlocks }) => type === IoType.Write && offsetBlocks >= 1024 && offsetBlocks < 2048,
    );
    const written = Promise.all(starts.map((start) => volume.write(start + 8, taggedBlocks(start + 8, 8, 2, blockSize))));
    await giveUp(rig, stuck!, 16);
    if (!hasMemory) release();
    await written;
    expect(arrayOf(rig, 'a').numInSync).toBe(3);
    for (const start of starts)
      expect(tagsOf(await volume.read(start + 8, 8), start + 8, blockSize, 'afterwards')).toEqual(Array(8).fill(2));
    if (hasMemory) release();
  });
});

it.each([
  ['raid1', 3],
  ['raid10', 4],
  ['raid6', 5],
] as const)(
  'a check of %s of which a member hangs goes on without it, although it holds the buffers',
  async (level, members) => {
    const { rig, disks } = await build(level, members, 20_000, 64 * MiB, false, { memberBytes: 12 * MiB });
    const [stuck] = disks;
    const volume = openVolume(rig, 'a');
    for (let at = 0; at < volume.numBlocks; at += 1024) {
      const count = Math.min(1024, volume.numBlocks - at);
      await volume.write(at, taggedBlocks(at, count, 1, blockSize));
    }
    const { dataOffset } = arrayOf(rig, 'a').slots[0]!;
    const release = hang(stuck!, ({ type, offsetBlocks }) => type === IoType.Read && offsetBlocks >= dataOffset);
    rig.arrays.startSync('a', 'check');
    const { processEnded } = arrayOf(rig, 'a');
    await giveUp(rig, stuck!, 1);
    await processEnded;
    expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'check', error: null, mismatchBlocks: 0 });
    expect(arrayOf(rig, 'a').numInSync).toBe(members - 1);
    release();
  },
);

it('a member that has missed the deadline of a write is not asked for pages of checksums', async () => {
  const { rig, disks } = await build('raid1', 2, 20_000, 64 * MiB, true, { checksumCacheBytes: 8192, memberBytes: 12 * MiB });
  const [stuck] = disks;
  const volume = openVolume(rig, 'a');
  const starts = [0, 1, 2, 3, 4].map((part) => Math.floor((volume.numBlocks * part) / 5 / 8) * 8);
  for (const start of starts) await volume.write(start, taggedBlocks(start, 8, 1, blockSize));
  const { dataOffset, dataSize } = arrayOf(rig, 'a').slots[0]!;
  const isPage = ({ offsetBlocks }: BdevIo): boolean => offsetBlocks >= dataOffset + dataSize;
  let holdsPages = false;
  const release = hang(
    stuck!,
    (io) => io.offsetBlocks >= dataOffset && io.type !== IoType.Flush && (holdsPages || !isPage(io)),
  );
  const written = Promise.all(starts.map((start) => volume.write(start, taggedBlocks(start, 8, 2, blockSize))));
  await until(() => stuck!.held.length === starts.length, 'it has all writes');
  holdsPages = true;
  await giveUp(rig, stuck!, 1);
  expect(stuck!.held.filter(isPage).length).toBe(0);
  await written;
  expect(stuck!.held.filter(isPage).length).toBe(0);
  release();
}, 100_000);

it('no member is unresponsive because the process did not run', async () => {
  const { rig, disks } = await build('raid1', 2, 600);
  const volume = openVolume(rig, 'a');
  await volume.write(0, taggedBlocks(0, 8, 1, blockSize));
  const release = hang(disks[0]!, ({ offsetBlocks }) => offsetBlocks >= 2048);
  const written = volume.write(0, taggedBlocks(0, 8, 2, blockSize));
  await until(() => disks[0]!.held.length > 0, 'it is being written');
  // Timers run before what a thread has answered meanwhile is heard.
  setImmediate(() => {
    stat('/', release);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  });
  await written;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(rig.events.map(({ type }) => type)).not.toContain('memberUnresponsive');
});
