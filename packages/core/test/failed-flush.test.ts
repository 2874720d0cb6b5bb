import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RegionState } from '../src/bitmap/region-state.js';
import { blocks } from '../../../test/support/array-on-disks.js';
import { arrayOf, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { VolatileDisk, plugInDisk } from '../../../test/support/volatile-disk.js';
import type { OnFailedFlush } from '../../../test/support/volatile-disk.js';

const MiB = 1 << 20;
/** Blocks of a strip. */
const strip = 32;
/** First block of a member's data area. */
const dataAt = 2048;
/** Stripe 0 of three: chunk 0 is on m0, chunk 1 on m1, parity on m2. */
const chunk = [0, strip] as const;

interface Process {
  rig: Rig;
  disks: Map<number, VolatileDisk>;
  volume: BlockClient;
}

/** Three members that hold 1 everywhere, on stable media. */
async function build(level: 'raid1' | 'raid5f', members = 3): Promise<Process> {
  const rig = newRig({ memoryBytes: 16 << 20 });
  const disks = new Map<number, VolatileDisk>();
  for (let index = 0; index < members; index++) {
    const disk = new VolatileDisk(rig.registry, new Uint8Array(3 * MiB));
    disks.set(index, disk);
    await plugInDisk(rig.registry, index, disk);
  }
  const baseBdevs = [...disks.keys()].map((index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...(level === 'raid1' ? {} : { stripSizeKb: 16 }) });
  const volume = openVolume(rig, 'a');
  for (let at = 0; at < 16 * 2 * strip; at += 2 * strip) await volume.write(at, blocks(2 * strip, 1));
  await volume.flush();
  volume.descriptor.close();
  await rig.arrays.stop();
  return restart({ disks });
}

/** Returns another process that has these disks, without some of them, as they are or as a power cut leaves them. */
async function restart(
  from: { readonly disks: Process['disks'] },
  how: { cutPower?: boolean; without?: readonly number[]; fault?: VolatileDisk['fault'] } = {},
): Promise<Process> {
  const rig = newRig({ memoryBytes: 16 << 20 });
  const disks = new Map<number, VolatileDisk>();
  // All disks are copied at one moment, while I/O may be in flight.
  for (const [index, disk] of from.disks) {
    if (how.without?.includes(index) === true) continue;
    const copy = disk.copyFor(rig.registry);
    if (how.cutPower === true) copy.cutPower();
    if (how.fault !== undefined) copy.fault = how.fault;
    disks.set(index, copy);
  }
  for (const [index, copy] of disks) await plugInDisk(rig.registry, index, copy);
  await rig.registry.waitForExamine();
  // A start that fails is tried again.
  for (let tries = 0; arrayOf(rig, 'a').state !== 'online'; tries++) {
    const start = rig.arrays.startDegraded('a');
    await (tries === 0 ? start.catch(() => undefined) : start);
  }
  return { rig, disks, volume: openVolume(rig, 'a') };
}

async function stop({ rig, volume }: Process): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
}

/** Members' flushes fail from now on; `onFailure` is called with the first one. */
function failFlushes(disk: VolatileDisk, how: OnFailedFlush, onFailure: () => void = () => undefined): void {
  let hasFailed = false;
  disk.onFailedFlush = how;
  disk.fault = ({ type }) => {
    if (type !== IoType.Flush || hasFailed) return Status.Ok;
    hasFailed = true;
    return Status.IoError;
  };
  disk.onFailure = onFailure;
}

async function first(volume: BlockClient, offset: number): Promise<number> {
  const bytes = await volume.read(offset, strip);
  expect(new Set(bytes).size).toBe(1);
  return bytes[0]!;
}

/** Checks that redundancy is consistent, and that every region is clean. */
async function agreed({ rig }: Process): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.process === null && array.bitmap?.regionsToResync === 0, 'everything agrees');
}

/** The disks as they are when a flush of member 0 has failed: the process dies before it is told. */
async function dieAtFlush({ rig, disks, volume }: Process, mode: OnFailedFlush): Promise<Pick<Process, 'disks'>> {
  const copies: Process['disks'] = new Map();
  failFlushes(disks.get(0)!, mode, () => {
    for (const [index, disk] of disks) copies.set(index, disk.copyFor(rig.registry));
  });
  await volume.flush().catch(() => undefined);
  expect(copies.size).toBe(disks.size);
  return { disks: copies };
}

const modes = ['shows it', 'drops it'] as const;

it('a flush is not acknowledged while a forced write has failed on a member without which nothing goes', async () => {
  const { rig, disks, volume } = await build('raid5f');
  await rig.arrays.removeBaseBdev('m2');
  await volume.write(chunk[0], blocks(1, 7));
  let hasFailed = false;
  failFlushes(disks.get(0)!, 'shows it', () => {
    hasFailed = true;
  });
  const other = disks.get(1)!;
  other.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === dataAt ? null : Status.Ok);
  const forced = volume.write(chunk[0], blocks(2 * strip, 3), { fua: true });
  await until(() => hasFailed && other.held.length > 0, 'the write has failed on m0, and m1 has it');
  await expect(volume.flush()).rejects.toThrow(/EIO/);
  for (const io of other.held.splice(0)) other.finish(io, Status.Ok);
  await expect(forced).rejects.toThrow(/EIO/);
});

describe.concurrent.each(modes)('a disk that fails to flush, and %s', (mode) => {
  it.each(['raid1', 'raid5f'] as const)('costs a %s nothing if the process dies before it is told', async (level) => {
    const before = await build(level);
    await before.volume.write(chunk[0], blocks(strip, 2));
    const next = await restart(await dieAtFlush(before, mode));
    await agreed(next);
    await stop(next);
    const seen = new Set<number>();
    for (const lost of [0, 1, 2]) {
      const after = await restart(next, { cutPower: true, without: [lost] });
      expect(await first(after.volume, chunk[1])).toBe(1);
      seen.add(await first(after.volume, chunk[0]));
    }
    expect(seen.size).toBe(1);
  });

  it('invents nothing on a complete raid5f that loses a member at its next start, before its resync has come by', async () => {
    const before = await build('raid5f');
    await before.volume.write(chunk[0], blocks(strip, 2));
    const disks = await dieAtFlush(before, mode);
    let isHeld = true;
    const hold: VolatileDisk['fault'] = ({ offsetBlocks, type }) =>
      isHeld && type === IoType.Read && offsetBlocks >= dataAt ? null : Status.Ok;
    const next = await restart(disks, { fault: hold });
    const all = [...next.disks.values()];
    await until(() => all.some(({ held }) => held.length > 0), 'the resync is on its way');
    // A device that goes has nothing in flight.
    isHeld = false;
    const gone = next.disks.get(1)!;
    for (const io of gone.held.splice(0)) gone.finish(io, Status.Ok);
    const removed = next.rig.arrays.removeBaseBdev('m1', { force: true });
    for (const disk of all) for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await removed;
    const seen = async ({ volume }: Process, at: number): Promise<number | string> => first(volume, at).catch(() => 'EIO');
    expect([1, 'EIO']).toContain(await seen(next, chunk[1]));
    await until(() => arrayOf(next.rig, 'a').process === null, 'nothing is at work');
    expect([1, 'EIO']).toContain(await seen(next, chunk[1]));
    await next.volume.flush();
    const shown = await seen(next, chunk[0]);
    for (const cutPower of [false, true]) {
      const rig = newRig({ memoryBytes: 16 << 20 });
      for (const [index, disk] of next.disks) {
        if (index === 1) continue;
        const copy = disk.copyFor(rig.registry);
        if (cutPower) copy.cutPower();
        await plugInDisk(rig.registry, index, copy);
      }
      await rig.registry.waitForExamine();
      if (arrayOf(rig, 'a').state !== 'online') await rig.arrays.startDegraded('a', { force: true });
      const after = { rig, disks: next.disks, volume: openVolume(rig, 'a') };
      expect([1, 'EIO']).toContain(await seen(after, chunk[1]));
      expect(await seen(after, chunk[0])).toBe(shown);
      // The whole region is inconsistent.
      for (let other = 2 * strip; other < 32 * strip; other += strip) expect([1, 'EIO']).toContain(await seen(after, other));
    }
  });

  it('invents nothing on a raid5f that lacks a member, in this run or a later one', async () => {
    const before = await build('raid5f');
    await before.rig.arrays.removeBaseBdev('m1');
    await before.volume.write(chunk[0], blocks(strip, 2));
    failFlushes(before.disks.get(0)!, mode);
    await expect(before.volume.flush()).rejects.toThrow(/EIO/);
    await expect(before.volume.read(chunk[1], 1)).rejects.toThrow(/EIO/);
    expect(await first(before.volume, 2 * strip)).toBe(1);
    expect(await first(before.volume, 3 * strip)).toBe(1);
    const killed = await restart(before);
    // Here the power fails at once, and not after the process's own resync.
    const cutAtOnce = await restart(killed, { cutPower: true });
    expect(await first(cutAtOnce.volume, chunk[1])).toBe(1);
    expect(await first(killed.volume, chunk[1])).toBe(1);
    await stop(before);
    const next = await restart(before);
    expect(await first(next.volume, chunk[1])).toBe(1);
    await stop(next);
    for (const { disks } of [killed, next]) {
      const after = await restart({ disks }, { cutPower: true });
      expect(await first(after.volume, chunk[1])).toBe(1);
    }
  });

  it('invents nothing on a raid5f that lacks a member when it does so in a start, the next of which writes', async () => {
    const before = await build('raid5f');
    await before.rig.arrays.removeBaseBdev('m1');
    await before.volume.write(chunk[0], blocks(strip, 2));
    for (let failing = 1; failing < 16; failing++) {
      let flushes = 0;
      const fault: VolatileDisk['fault'] = ({ type }) =>
        type === IoType.Flush && ++flushes === failing ? Status.IoError : Status.Ok;
      const next = await restart(before, { fault });
      for (const disk of next.disks.values()) disk.fault = () => Status.Ok;
      await next.volume.write(2 * strip + chunk[0], blocks(strip, 3));
      const after = await restart(next, { cutPower: true });
      expect(await first(after.volume, chunk[1]), `flush ${failing}`).toBe(1);
      expect(await first(after.volume, 3 * strip), `flush ${failing}`).toBe(1);
    }
  });

  it.each([
    { level: 'raid1', members: 2, at: 0 },
    // The parity of this stripe would be on m1, so that the write is not journaled.
    { level: 'raid5f', members: 3, at: 2 * strip },
  ] as const)(
    'is not believed by a rebuild of a $level, nor by those who rely on its target',
    async ({ level, members, at }) => {
      const before = await build(level, members);
      await before.rig.arrays.removeBaseBdev('m1');
      await before.volume.write(at, blocks(strip, 2));
      failFlushes(before.disks.get(0)!, mode);
      await expect(before.volume.flush()).rejects.toThrow(/EIO/);
      const killed = await restart(before);
      for (const process of [before, killed]) {
        await process.rig.arrays.addBaseBdev('a', 'm1');
        await until(() => arrayOf(process.rig, 'a').numInSync === members, 'm1 is filled');
        // It would also start automatically, but later.
        process.rig.arrays.startSync('a', 'resync');
        await agreed(process);
        await stop(process);
        const seen = new Set<number>();
        for (let lost = 0; lost < members; lost++) {
          const after = await restart(process, { cutPower: true, without: [lost] });
          for (let other = 0; other < 32 * strip; other += strip) {
            if (other !== at) expect(await first(after.volume, other), `without ${lost}, block ${other}`).toBe(1);
          }
          seen.add(await first(after.volume, at));
        }
        expect(seen.size).toBe(1);
      }
    },
  );

  it('is in doubt when a rebuild has relied on it, also for the journal of the next member that leaves', async () => {
    const before = await build('raid5f');
    await before.rig.arrays.removeBaseBdev('m1');
    await before.volume.write(2 * strip, blocks(strip, 2));
    let numRefused = 0;
    let areRefused = true;
    const fault: VolatileDisk['fault'] = ({ type, offsetBlocks }) => {
      if (!areRefused || type !== IoType.Write || offsetBlocks < dataAt) return Status.Ok;
      numRefused++;
      return Status.IoError;
    };
    const { rig, disks } = await restart(await dieAtFlush(before, mode), { fault });
    const array = arrayOf(rig, 'a');
    await until(() => numRefused > 0 && array.process === null, 'it cannot be written anew before m1 comes');
    areRefused = false;
    await rig.arrays.addBaseBdev('a', 'm1');
    await until(() => array.numInSync === 3, 'm1 is filled');
    await rig.arrays.removeBaseBdev('m2', { force: true });
    const { volume } = await restart({ disks }, { cutPower: true, without: [2] });
    expect([1, 'EIO']).toContain(await first(volume, 3 * strip).catch(() => 'EIO'));
  });

  it('may take along parts of a write of a whole stripe that was under way', async () => {
    const before = await build('raid5f');
    await before.rig.arrays.removeBaseBdev('m1');
    const [m0, m2] = [before.disks.get(0)!, before.disks.get(2)!];
    m2.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === dataAt ? null : Status.Ok);
    const written = before.volume.write(0, blocks(2 * strip, 2));
    await until(() => m2.held.length > 0, 'the data is there, and the parity is held back');
    failFlushes(m0, mode);
    await expect(before.volume.flush()).rejects.toThrow(/EIO/);
    m2.fault = () => Status.Ok;
    for (const io of m2.held.splice(0)) m2.finish(io, Status.Ok);
    await written;
    await before.rig.arrays.addBaseBdev('a', 'm1');
    await until(() => arrayOf(before.rig, 'a').numInSync === 3, 'm1 is filled');
    before.rig.arrays.startSync('a', 'resync');
    await agreed(before);
    await stop(before);
    const seen = new Set<string>();
    for (const lost of [0, 1, 2]) {
      const after = await restart(before, { cutPower: true, without: [lost] });
      seen.add(String([await first(after.volume, chunk[0]), await first(after.volume, chunk[1])]));
    }
    expect(seen.size).toBe(1);
  });

  it('keeps the zeros of a first write', async () => {
    const before = await build('raid1', 2);
    await before.rig.arrays.removeBaseBdev('m1');
    const m0 = before.disks.get(0)!;
    // The second region was never written.
    for (const bytes of [m0.bytes, m0.stable]) bytes.fill(0xee, 2 * MiB);
    m0.onFailedFlush = mode;
    m0.fault = ({ type }) => (type === IoType.Flush ? null : Status.Ok);
    const written = before.volume.write(2048 + 100, blocks(1, 5));
    await until(() => m0.held.length > 0, 'zeros are being flushed');
    const flushed = before.volume.flush();
    await until(() => m0.held.length > 1, 'a user flushes');
    m0.fault = () => Status.Ok;
    const [zeros, users] = m0.held.splice(0);
    m0.finish(users!, Status.IoError);
    m0.finish(zeros!, Status.Ok);
    await expect(flushed).rejects.toThrow(/EIO/);
    await written;
    expect(await first(before.volume, 2048 + 512)).toBe(0);
    const after = await restart(before, { cutPower: true });
    expect(await first(after.volume, 2048 + 512)).toBe(0);
  });

  it.each([
    { zeros: 'zeros take no room', types: [IoType.Write] },
    { zeros: 'zeros take room', types: [IoType.Write, IoType.WriteZeroes] },
  ])('is written anew beside blocks that have no room ($zeros): no member is failed for those', async ({ types }) => {
    const before = await build('raid1', 2);
    // The data ends in the middle of a chunk of what is rewritten at a time.
    await before.volume.write(1480, blocks(strip, 2));
    const [hole, end] = [dataAt + 1480 + strip, dataAt + 2048];
    const next = await restart(await dieAtFlush(before, mode), {
      fault: ({ type, offsetBlocks, numBlocks }) =>
        (types as number[]).includes(type) && offsetBlocks < end && offsetBlocks + numBlocks > hole
          ? Status.NoSpace
          : Status.Ok,
    });
    const array = arrayOf(next.rig, 'a');
    await until(() => array.process === null && array.consistency.isSettled, 'the resync ends');
    expect(array.numInSync).toBe(2);
    await stop(next);
    const seen = new Set<number>();
    for (const lost of [0, 1]) seen.add(await first((await restart(next, { cutPower: true, without: [lost] })).volume, 1480));
    expect(seen.size).toBe(1);
  });

  it('leaves the entries that stand for it where they are', async () => {
    const before = await build('raid5f');
    await before.rig.arrays.removeBaseBdev('m1');
    await before.volume.write(chunk[0], blocks(strip, 2));
    failFlushes(before.disks.get(0)!, mode);
    await expect(before.volume.flush()).rejects.toThrow(/EIO/);
    // Stripe 6 has the layout of stripe 0: its entries go to the same journal slots, of which there are fewer.
    for (let round = 0; round < 40; round++) await before.volume.write(12 * strip, blocks(strip, 3)).catch(() => undefined);
    for (const cutPower of [false, true]) {
      const next = await restart(before, { cutPower });
      for (const at of [chunk[1], 13 * strip]) expect(await first(next.volume, at)).toBe(1);
    }
  });
});

it.concurrent('a member that takes nothing any more, and cannot be spared, is not written to without end', async () => {
  const { disks, rig, volume } = await build('raid5f');
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(chunk[0], blocks(strip, 2));
  let tries = 0;
  disks.get(0)!.fault = ({ type }) => {
    if (type === IoType.Read) return Status.Ok;
    tries++;
    return Status.IoError;
  };
  await expect(volume.flush()).rejects.toThrow(/EIO/);
  // The next try is some seconds later.
  let before = -1;
  let quietLooks = 0;
  await until(() => {
    quietLooks = tries === before ? quietLooks + 1 : 0;
    before = tries;
    return quietLooks === 50;
  }, 'it is left alone');
});

it.concurrent('a region that has been written anew does not stay dirty, also where a member is missing', async () => {
  const before = await build('raid5f');
  await before.rig.arrays.removeBaseBdev('m1');
  await before.volume.write(chunk[0], blocks(strip, 2));
  const { rig } = await restart(await dieAtFlush(before, 'shows it'));
  await until(() => arrayOf(rig, 'a').bitmap!.count(RegionState.Dirty) === 0, 'regions are recorded as missed');
});

it.concurrent(
  'a flush that fails while regions are being made clean leaves them dirty, whatever the flush for that says',
  async () => {
    const before = await build('raid1', 2);
    await before.rig.arrays.removeBaseBdev('m1');
    await before.volume.write(0, blocks(strip, 2));
    const m0 = before.disks.get(0)!;
    m0.fault = ({ type }) => (type === IoType.Flush ? null : Status.Ok);
    await until(() => m0.held.length > 0, 'regions are being made clean');
    const flushed = before.volume.flush();
    await until(() => m0.held.length > 1, 'a user flushes');
    let isRecorded = false;
    m0.fault = ({ type, offsetBlocks }) => {
      isRecorded ||= type === IoType.Write && offsetBlocks < dataAt;
      return Status.Ok;
    };
    const [cleaning, users] = m0.held.splice(0);
    m0.finish(users!, Status.IoError);
    m0.finish(cleaning!, Status.Ok);
    await expect(flushed).rejects.toThrow(/EIO/);
    const { bitmap } = arrayOf(before.rig, 'a');
    await until(() => isRecorded || bitmap!.count(RegionState.Dirty) > 0, 'they are recorded, or dirty again');
    const killed = await restart(before);
    await killed.rig.arrays.addBaseBdev('a', 'm1');
    await until(() => arrayOf(killed.rig, 'a').numInSync === 2, 'm1 is filled');
    await agreed(killed);
    await stop(killed);
    const seen = new Set<number>();
    for (const lost of [0, 1]) seen.add(await first((await restart(killed, { cutPower: true, without: [lost] })).volume, 0));
    expect(seen.size).toBe(1);
  },
);

it.concurrent('a block that was bad is so again if what has been written there was not kept', async () => {
  const before = await build('raid1', 2);
  await before.rig.arrays.removeBaseBdev('m1');
  await before.volume.write(100, blocks(1, 1));
  const [m0, m1] = [before.disks.get(0)!, before.disks.get(1)!];
  for (const bytes of [m1.bytes, m1.stable]) bytes.fill(0xee, MiB);
  const bad = MiB / 512 + 5;
  m0.fault = ({ type, offsetBlocks, numBlocks }) =>
    type === IoType.Read && offsetBlocks <= bad && bad < offsetBlocks + numBlocks ? Status.IoError : Status.Ok;
  await before.rig.arrays.addBaseBdev('a', 'm1');
  await until(() => arrayOf(before.rig, 'a').numInSync === 2 && arrayOf(before.rig, 'a').process === null, 'm1 is filled');
  expect(arrayOf(before.rig, 'a').badBlocks.has(1, 5, 1)).toBe(true);
  await before.rig.arrays.removeBaseBdev('m0');
  // This is the flush before the list that no longer has the block.
  failFlushes(m1, 'shows it');
  await expect(before.volume.write(5, blocks(1, 3))).rejects.toThrow(/EIO/);
  await before.volume.write(9, blocks(1, 3));
  const next = await restart({ disks: new Map([[1, before.disks.get(1)!]]) }, { cutPower: true });
  await expect(next.volume.read(5, 1)).rejects.toThrow(/EIO/);
});

it.concurrent.each(['a round of metadata', 'a resync', 'a replacement'])(
  'a flush of the only copy that fails in %s is not forgotten',
  async (what) => {
    const before = await build('raid1', 2);
    const { arrays, registry } = before.rig;
    await arrays.removeBaseBdev('m1');
    await before.volume.write(0, blocks(strip, 2));
    if (what === 'a replacement') await plugInDisk(registry, 9, new VolatileDisk(registry, new Uint8Array(3 * MiB)));
    failFlushes(before.disks.get(0)!, 'shows it');
    if (what === 'a round of metadata')
      await arrayOf(before.rig, 'a')
        .metadata.update()
        .catch(() => undefined);
    else if (what === 'a replacement') await arrays.replaceBaseBdev('a', 'm0', 'm9').catch(() => undefined);
    else {
      arrayOf(before.rig, 'a').consistency.markInconsistent(0, strip);
      arrays.startSync('a', 'resync');
    }
    await arrayOf(before.rig, 'a').processEnded;
    if (arrayOf(before.rig, 'a').slots[0]!.name === 'm0') await expect(before.volume.flush()).rejects.toThrow(/EIO/);
  },
);

/** Chunk 1 of stripe 0, on m1. */
const onM1 = (level: 'raid1' | 'raid5f'): number => (level === 'raid1' ? 0 : strip);

describe.each(['raid1', 'raid5f'] as const)('a member of a %s that is removed on request', (level) => {
  const members = level === 'raid1' ? 2 : 3;

  it.concurrent.each(['at once', 'while it is being removed'])(
    'stays if what another one has not flushed, written %s, is lost',
    async (when) => {
      const before = await build(level, members);
      const { disks, rig, volume } = before;
      const m1 = disks.get(1)!;
      const write = (): Promise<void> => volume.write(onM1(level), blocks(strip, 2));
      let written: Promise<void> | null = when === 'at once' ? write() : null;
      await written;
      let flushes = 0;
      m1.onFailedFlush = 'drops it';
      m1.fault = ({ type }) => {
        if (type !== IoType.Flush) return Status.Ok;
        if (written !== null) return Status.IoError;
        // The write comes after the first flush, and before the second one.
        if (++flushes === 1) written = write();
        return Status.Ok;
      };
      await expect(rig.arrays.removeBaseBdev('m0')).rejects.toThrow(
        /cannot do without m0 of slot 0, because another member has failed or was removed/,
      );
      await written;
      await until(() => arrayOf(rig, 'a').slots[1]!.name === null, 'm1 is out');
      expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', null, 'm2'].slice(0, members));
      expect(rig.events).toContainEqual(expect.objectContaining({ type: 'memberFailed', member: 'm1' }));
      expect(arrayOf(rig, 'a').slots[0]!.isRemovedByHand).toBe(false);
      expect(await first(volume, onM1(level))).toBe(2);
      await volume.flush();
      await stop(before);
    },
  );

  it('keeps no other request waiting while another member does not end its flush', async () => {
    const { disks, rig, volume } = await build(level, members);
    const m1 = disks.get(1)!;
    let flushes = 0;
    m1.fault = ({ type }) => (type === IoType.Flush && ++flushes === 2 ? null : Status.Ok);
    const removal = rig.arrays.removeBaseBdev('m0');
    await until(() => m1.held.length > 0, 'the second flush hangs');
    expect(await first(volume, 4 * strip)).toBe(1);
    expect(arrayOf(rig, 'a').slots[0]!.isInSync).toBe(true);
    for (const io of m1.held.splice(0)) m1.finish(io, Status.Ok);
    await removal;
    // A member's flush may take 120 s.
  }, 25_000);

  // This is a test of its own, because the tests above would use up its time.
  it('keeps no other request waiting while a write to it hangs', async () => {
    const { disks, rig, volume } = await build(level, members);
    const m0 = disks.get(0)!;
    m0.fault = ({ type }) => (type === IoType.Write ? null : Status.Ok);
    const hanging = volume.write(0, blocks(strip, 2));
    await until(() => m0.held.length > 0, 'the write hangs');
    let isOut = false;
    const removal = rig.arrays.removeBaseBdev('m0').then(() => (isOut = true));
    // Others are held for a moment only, and not until the write ends.
    await until(() => arrayOf(rig, 'a').slots[0]!.isRemoving, 'it is leaving');
    expect(await first(volume, 4 * strip)).toBe(1);
    expect(isOut).toBe(false);
    for (const io of m0.held.splice(0)) m0.finish(io, Status.Ok);
    await Promise.all([removal, hanging]);
  }, 25_000); // A member's time limit is 30 s.
});

it.concurrent('a slot stays if what another member has not flushed is lost when it is to go', async () => {
  const { disks, rig, volume } = await build('raid1', 2);
  await volume.write(0, blocks(strip, 2));
  failFlushes(disks.get(1)!, 'drops it');
  await expect(rig.arrays.removeSlot('a', 0)).rejects.toThrow(/cannot do without m0 of slot 0, because another/);
  await until(() => arrayOf(rig, 'a').slots[1]!.name === null, 'm1 is out');
  expect(arrayOf(rig, 'a').slots.map(({ name }) => name)).toEqual(['m0', null]);
  expect(await first(volume, 0)).toBe(2);
});

for (const level of ['raid1', 'raid5f'] as const) {
  it(`${level} fails the member that lost a flush of a record, and not one that fails a write before all have answered`, async () => {
    const { rig, disks, volume } = await build(level, level === 'raid1' ? 2 : 3);
    const array = arrayOf(rig, 'a');
    const [m0, m1] = [disks.get(0)!, disks.get(1)!];
    const zone = [0, 2 * strip] as const;
    await volume.write(zone[0], blocks(zone[1], 7));
    // The round waits for m0, when m1 has dropped what it was to flush.
    let isWriteFailing = false;
    m0.fault = ({ type }) =>
      type === IoType.Flush ? null : isWriteFailing && type === IoType.Write ? Status.IoError : Status.Ok;
    failFlushes(m1, 'drops it');
    const round = array.metadata.update();
    round.catch(() => undefined);
    await until(() => array.slotAt(1).lossesToJudge > 0 && m0.held.length > 0, 'm1 has lost a flush');
    isWriteFailing = true;
    // Only the member that goes has it.
    await expect(volume.write(8 * 2 * strip, blocks(strip, 9))).rejects.toThrow();
    isWriteFailing = false;
    m0.fault = () => Status.Ok;
    for (const io of m0.held.splice(0)) m0.finish(io, Status.Ok);
    await round.catch(() => undefined);
    await until(() => array.numInSync < array.numSlots, 'one of them is out');
    expect(array.slots.map(({ isInSync }) => isInSync)[0]).toBe(true);
    expect(Buffer.from(await volume.read(zone[0], zone[1])).equals(blocks(zone[1], 7))).toBe(true);
    await stop({ rig, disks, volume });
  });

  it(`${level} waits for a member that hangs, while another one has lost a flush of a record`, async () => {
    const { rig, disks, volume } = await build(level, level === 'raid1' ? 2 : 3);
    const array = arrayOf(rig, 'a');
    const [m0, m1] = [disks.get(0)!, disks.get(1)!];
    const written = blocks(2 * strip, 7);
    await volume.write(0, written);
    const ioTimeoutMs = 100;
    rig.arrays.setMemberOptions({ ioTimeoutMs });
    m0.fault = ({ type }) => (type === IoType.Flush ? null : Status.Ok);
    failFlushes(m1, 'drops it');
    const round = array.metadata.update();
    round.catch(() => undefined);
    await until(() => array.slotAt(1).lossesToJudge > 0 && m0.held.length > 0, 'm1 has lost a flush');
    await until(() => array.slotAt(0).isUnresponsive, 'm0 is late');
    await setTimeout(8 * ioTimeoutMs);
    expect(array.state).toBe('online');
    expect(array.slotAt(0).isInSync).toBe(true);
    // Of two copies the one is read that has it all, although it is late.
    for (let i = 0; level === 'raid1' && i < 4; i++)
      expect(Buffer.from(await volume.read(0, 2 * strip)).equals(written)).toBe(true);
    m0.fault = () => Status.Ok;
    for (const io of m0.held.splice(0)) m0.finish(io, Status.Ok);
    await round.catch(() => undefined);
    await until(() => !array.slotAt(1).isInSync, 'm1 is out');
    expect(array.slotAt(0).isInSync).toBe(true);
    expect(Buffer.from(await volume.read(0, 2 * strip)).equals(written)).toBe(true);
    await stop({ rig, disks, volume });
  });
}
