import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import { parseSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { plugIn } from './support/ram-disk.js';
import type { RamDisk } from './support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from './support/rig.js';
import type { Rig } from './support/rig.js';

const MiB = 1 << 20;

interface Built {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

async function build(level: string, members: number, options: { mebibytes?: number; stripSizeKb?: number } = {}): Promise<Built> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (let index = 0; index < members; index++) {
    const bytes = new Uint8Array((1 + (options.mebibytes ?? 2)) * MiB);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: options.stripSizeKb ?? 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: disks.map((_, index) => `m${index}`), superblock: true, ...strip });
  return { rig, disks, volume: openVolume(rig, 'a') };
}

function blocks(count: number, fill: number): Uint8Array {
  return new Uint8Array(count * 512).fill(fill);
}

/** Fails I/O of one type on the data area, from this block of it on. */
function failData(disk: RamDisk, type: number, from = 0, count = Infinity): void {
  disk.fault = (io: BdevIo) => {
    const at = io.offsetBlocks - 2048;
    return io.type === type && at + io.numBlocks > from && at < from + count && at >= 0 ? Status.IoError : Status.Ok;
  };
}

function superblockOf(disk: RamDisk): Extract<ReturnType<typeof parseSuperblock>, { ok: true }>['superblock'] {
  const parsed = parseSuperblock(disk.bytes.subarray(0, 16_896));
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.superblock;
}

describe.each([
  ['raid1', 3],
  ['raid5f', 4],
] as const)('%s', (level, members) => {
  it('serves a read that one member cannot, and gives it the blocks again', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(96, 7));
    const [bad] = disks;
    let reads = 0;
    bad!.fault = (io) => {
      const isBad = io.type === IoType.Read && io.offsetBlocks >= 2048 && reads++ < 1;
      return isBad ? Status.IoError : Status.Ok;
    };
    for (let round = 0; round < 4; round++) expect(await volume.read(0, 96)).toEqual(blocks(96, 7));
    const [slot] = arrayOf(rig, 'a').slots;
    await until(() => slot!.errors.repaired > 0, 'the blocks are rewritten');
    expect(slot!.errors.read).toBe(1);
    expect(slot!.isCurrent).toBe(true);
  });

  it('acknowledges a write that missed a member only when the survivors’ superblocks say so', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(8, 1));
    const before = superblockOf(disks[1]!).seqNumber;
    failData(disks[0]!, IoType.Write);
    // Survivors take the superblock slowly: until they have it, no acknowledgement.
    let isAcked = false;
    for (const disk of disks.slice(1)) disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 ? null : Status.Ok);
    const written = volume.write(0, blocks(8, 2)).then(() => {
      isAcked = true;
    });
    await until(() => disks.slice(1).every(({ held }) => held.length > 0), 'the superblocks are under way');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isAcked).toBe(false);
    for (const disk of disks.slice(1)) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
    await written;
    for (const disk of disks.slice(1)) {
      const { members: entries, seqNumber } = superblockOf(disk);
      expect(seqNumber).toBeGreaterThan(before);
      expect(entries.map(({ state }) => state)).toEqual([2, ...entries.slice(1).map(() => 1)]);
      expect(disk.log.at(-1)).toBe('flush');
    }
    expect(arrayOf(rig, 'a').numCurrent).toBe(members - 1);
    expect(await volume.read(0, 8)).toEqual(blocks(8, 2));
    expect(rig.events.filter(({ type }) => type === 'memberFailed')).toHaveLength(1);
  });

  it('finds silent corruption with a check, and mends it with a repair', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(1024, 3));
    const array = arrayOf(rig, 'a');
    // Of a mirror the second copy; of raid5f the parity of the first stripe: neither is what the data is read from.
    const victim = disks[level === 'raid1' ? 1 : 3]!;
    victim.bytes[MiB + 5000]! ^= 0xff;
    rig.arrays.startSync('a', 'check');
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'check', error: null });
    expect(array.history[0]!.mismatchBlocks).toBeGreaterThan(0);
    expect(victim.bytes[MiB + 5000]).not.toBe(level === 'raid1' ? 3 : 3 ^ 3 ^ 3);
    rig.arrays.startSync('a', 'repair');
    await array.processEnded;
    rig.arrays.startSync('a', 'check');
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'check', mismatchBlocks: 0 });
    expect(await volume.read(0, 1024)).toEqual(blocks(1024, 3));
  });

  it('a member that cannot be read while it is being filled does no harm', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 4 });
    await volume.write(0, blocks(volume.numBlocks / 2, 3));
    await rig.arrays.removeBaseBdev('m1');
    // Takes what it is given, as far as the last window, and cannot read it.
    const target = disks[1]!;
    target.fault = (io) => {
      if (io.type === IoType.Read && io.offsetBlocks >= 2048) return Status.IoError;
      return io.type === IoType.Write && io.offsetBlocks >= 2048 + 2048 ? null : Status.Ok;
    };
    rig.arrays.processOptions.windowSizeKb = 256;
    await rig.arrays.addBaseBdev('a', 'm1');
    await until(() => (arrayOf(rig, 'a').process?.offsetBlocks ?? 0) > 256, 'a part is filled');
    for (let at = 0; at < 256; at += 16) {
      await volume.write(at + 3, blocks(5, 4));
      expect(await volume.read(at, 3)).toEqual(blocks(3, 3));
    }
    target.fault = (io) => (io.type === IoType.Read && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
    for (const io of target.held.splice(0)) target.finish(io, Status.Ok);
    await arrayOf(rig, 'a').processEnded;
    // A mirror has no need to read it.
    if (level === 'raid5f') expect(arrayOf(rig, 'a').numCurrent).toBe(members - 1);
  });

  it('never throws out the members that it needs', async () => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(8, 1));
    for (const disk of disks) failData(disk, IoType.Write);
    await expect(volume.write(0, blocks(8, 2))).rejects.toMatchObject({ errno: 5 });
    const array = arrayOf(rig, 'a');
    expect(array.state).toBe('online');
    expect(array.numCurrent).toBeGreaterThanOrEqual(array.minOperational);
  });

  it('reads zeros where nothing was ever written, whatever the members hold', async () => {
    const rig = newRig();
    for (let index = 0; index < members; index++) {
      const bytes = new Uint8Array(3 * MiB).fill(0xa0 + index);
      bytes.fill(0, 0, MiB);
      await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    }
    const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
    await rig.arrays.create({ name: 'a', level, baseBdevs: Array.from({ length: members }, (_, i) => `m${i}`), superblock: true, ...strip });
    const volume = openVolume(rig, 'a');
    await volume.write(100, blocks(1, 9));
    const data = await volume.read(0, volume.numBlocks);
    expect(data.subarray(100 * 512, 101 * 512)).toEqual(blocks(1, 9));
    data.fill(0, 100 * 512, 101 * 512);
    expect(data.every((byte) => byte === 0)).toBe(true);
    expect(arrayOf(rig, 'a').regions!.count(RegionState.Dirty)).toBe(1);
  });

  it('gives a member that comes back only what it missed', async () => {
    const { rig, disks, volume } = await build(level, members, { mebibytes: 8 });
    await volume.write(0, blocks(4096, 1));
    await rig.arrays.removeBaseBdev('m1');
    await volume.write(10, blocks(8, 2));
    disks[1]!.log.length = 0;
    await rig.arrays.addBaseBdev('a', 'm1');
    const array = arrayOf(rig, 'a');
    await array.processEnded;
    expect(array.numCurrent).toBe(members);
    await rig.arrays.removeBaseBdev(level === 'raid1' ? 'm0' : 'm2');
    expect((await volume.read(0, 4096)).subarray(10 * 512, 18 * 512)).toEqual(blocks(8, 2));
  });

  it('grows when all its members have grown', async () => {
    const { rig, disks, volume } = await build(level, members);
    const before = volume.numBlocks;
    const array = arrayOf(rig, 'a');
    for (const slot of array.slots) {
      const bdev = slot.descriptor!.bdev;
      bdev.resize(disks[slot.index]!.grow(2 * MiB));
      if (slot.index < members - 1) expect(volume.numBlocks).toBe(before);
    }
    await until(() => volume.numBlocks > before, 'the volume has grown');
    expect(volume.numBlocks).toBe(before * 2);
    const tail = await volume.read(before, before);
    expect(tail.every((byte) => byte === 0)).toBe(true);
    await volume.write(volume.numBlocks - 8, blocks(8, 4));
    expect(await volume.read(volume.numBlocks - 8, 8)).toEqual(blocks(8, 4));
    // After a crash only what was being written is in doubt, in the new part too.
    const { regions } = array;
    expect(regions!.states.length).toBe(4);
    const again = newRig();
    for (const [index, disk] of disks.entries()) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disk.bytes.slice() });
    await again.registry.waitForExamine();
    const back = arrayOf(again, 'a');
    expect(back.regions!.count(RegionState.Suspect)).toBe(1);
    expect(back.regions!.count(RegionState.Unwritten)).toBe(3);
    await back.processEnded;
    const reread = openVolume(again, 'a');
    expect(await reread.read(reread.numBlocks - 8, 8)).toEqual(blocks(8, 4));
    expect((await reread.read(before, before - 8)).every((byte) => byte === 0)).toBe(true);
  });
});

describe('raid0', () => {
  it('goes offline when a member vanishes, and comes back by itself with it', async () => {
    const { rig, disks, volume } = await build('raid0', 2);
    await volume.write(0, blocks(128, 5));
    await volume.flush();
    volume.descriptor.close();
    const member = rig.registry.get('m1')!;
    await rig.registry.unregister(member);
    expect(arrayOf(rig, 'a').state).toBe('offline');
    await plugIn(rig.registry, { name: 'other name', uuid: memberUuid(1), bytes: disks[1]!.bytes });
    await rig.registry.waitForExamine();
    await until(() => rig.arrays.get('a')?.state === 'online', 'the array is online again');
    expect(await openVolume(rig, 'a').read(0, 128)).toEqual(blocks(128, 5));
  });

  it('believes no flush after one that failed', async () => {
    const { disks, volume } = await build('raid0', 2);
    await volume.write(0, blocks(8, 1));
    disks[0]!.fault = (io) => (io.type === IoType.Flush ? Status.IoError : Status.Ok);
    await expect(volume.flush()).rejects.toMatchObject({ errno: 5 });
    disks[0]!.fault = () => Status.Ok;
    await expect(volume.flush()).rejects.toMatchObject({ errno: 5 });
  });
});

it('an array that was not stopped cleanly is resynchronised, and only where it was being written', async () => {
  const { disks, volume } = await build('raid1', 2, { mebibytes: 8 });
  await volume.write(0, blocks(8, 1));
  // The process dies: the members stay as they are, and one of them has half of a later write.
  const images = disks.map(({ bytes }) => bytes.slice());
  images[1]!.fill(0x77, MiB + 512, MiB + 1024);
  const again = newRig();
  const plugged = [];
  for (const [index, bytes] of images.entries()) plugged.push(await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes }));
  await again.registry.waitForExamine();
  const array = arrayOf(again, 'a');
  expect(array.regions!.count(RegionState.Suspect)).toBe(1);
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'resync', error: null });
  expect(array.regions!.count(RegionState.Suspect)).toBe(0);
  expect(Buffer.from(images[0]!.subarray(MiB)).equals(images[1]!.subarray(MiB))).toBe(true);
  const read = plugged[1]!.disk.log.filter((entry) => entry.startsWith('read ') && Number(entry.split(/[ +]/)[1]) >= 2048 + 2048);
  expect(read).toEqual([]);
});

it('raid5f refuses to start without a member after an unclean stop, and says what is at stake; forced, it invents nothing', async () => {
  const { disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(64, 1));
  const again = newRig();
  for (const index of [0, 2]) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disks[index]!.bytes.slice() });
  await again.registry.waitForExamine();
  await expect(again.arrays.startDegraded('a')).rejects.toThrow(/was not stopped cleanly, and slot 1 is missing: in 1 regions/);
  expect(again.registry.get('a')).toBeUndefined();
  await again.arrays.startDegraded('a', { force: true });
  const forced = openVolume(again, 'a');
  expect(await forced.read(0, 32)).toEqual(blocks(32, 1));
  await expect(forced.read(32, 1)).rejects.toThrow();
  again.arrays.trustRedundancy('a');
  expect(await forced.read(0, 64)).toEqual(blocks(64, 1));
});

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
  for (const [index, bytes] of images.entries()) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  const { regions, processEnded } = arrayOf(again, 'a');
  expect(regions!.count(RegionState.Unwritten)).toBe(0);
  expect(regions!.count(RegionState.Suspect)).toBe(regions!.states.length);
  await processEnded;
  expect(regions!.count(RegionState.Suspect)).toBe(0);
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
      // One half has seen more changes than the other.
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
    // One of them, whole; what the other alone has is left alone.
    expect([10, 11]).toContain(data[0]);
    expect(data.every((byte) => byte === data[0])).toBe(true);
    expect(plugged.map((bytes) => bytes[MiB]).sort()).toEqual([10, 11]);
  }
});

it('a stale last copy does not start while the one that knows better may come', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  // m0 alone is the array, with m1 out; then m1 is filled, and m0 fails before it hears of that.
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
    for (const index of order) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: (index === 0 ? stale : current).slice() });
    await again.registry.waitForExamine();
    const array = arrayOf(again, 'a');
    await until(() => array.numCurrent === 2, 'the stale copy is filled anew');
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
    for (const [index, bytes] of images.entries()) await plugIn(session.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
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
      for (const index of order) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: (index === 1 ? old : images[index]!).slice() });
      await again.registry.waitForExamine();
      const array = arrayOf(again, 'a');
      for (let round = 0; round < 4; round++) expect(await openVolume(again, 'a').read(0, 64)).toEqual(blocks(64, 2));
      await until(() => array.process === null && array.numCurrent === 3, 'it is filled anew');
    }
  }
});

it('starts without a member that does not come, after the time that is set for that', async () => {
  const { rig, disks, volume } = await build('raid1', 2);
  await volume.write(0, blocks(8, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig({ assembly: { degradedStartMs: 30 } });
  await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes.slice() });
  await again.registry.waitForExamine();
  expect(again.registry.get('a')).toBeUndefined();
  await until(() => arrayOf(again, 'a').state === 'online', 'it is started degraded');
  // A parity level whose last stop was not clean is not started so.
  const parity = await build('raid5f', 3);
  await parity.volume.write(0, blocks(1, 1));
  const third = newRig({ assembly: { degradedStartMs: 30 } });
  for (const index of [0, 1]) await plugIn(third.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: parity.disks[index]!.bytes.slice() });
  await until(() => arrayOf(third, 'a').trouble !== null, 'it is refused');
  expect(arrayOf(third, 'a').trouble).toMatch(/not stopped cleanly/);
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
  // The last write takes its time; meanwhile the absent member appears.
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
  for (const index of [1, 0]) await plugIn(last.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images[index]! });
  await last.registry.waitForExamine();
  await arrayOf(last, 'a').processEnded;
  await last.arrays.removeBaseBdev('m0');
  expect(await openVolume(last, 'a').read(0, 8)).toEqual(blocks(8, 2));
});
