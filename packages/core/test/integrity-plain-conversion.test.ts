import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build, bytesOf } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

/* Checksums of arrays without redundancy, turned on and off while they are up. */

const KiB = 1024;
const dataAt = 2048;
/** Room for the pages of a member, and less than a strip more. */
const room = 12 * KiB;
const levels = [
  ['raid0', 2],
  ['concat', 2],
] as const;

async function startFrom(images: readonly Uint8Array[]): Promise<Built> {
  const rig = newRig({ checksumCacheBytes: 16 * KiB });
  const disks: RamDisk[] = [];
  for (const [index, image] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: image.slice() })).disk);
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks, volume: openVolume(rig, 'a') };
}

const imagesOf = ({ disks }: Pick<Built, 'disks'>): Uint8Array[] => disks.map(({ bytes }) => bytes.slice());
const errorsOf = ({ rig }: Built): number => arrayOf(rig, 'a').slots.reduce((sum, { errors }) => sum + errors.checksum, 0);

async function stop({ rig, volume }: Built): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

function enlarge({ rig, disks }: Built, moreBytes: number): Promise<void> {
  disks.forEach((disk, index) => rig.registry.get(`m${index}`)!.resize(disk.grow(moreBytes)));
  return arrayOf(rig, 'a').resizing;
}

/** Without checksums, with room for them, and with data at its beginning and its end. */
async function plain(level: string, members: number, mebibytes = 1): Promise<Built> {
  const built = await build(level, members, { checksumCacheBytes: 16 * KiB, mebibytes });
  const { volume } = built;
  const before = volume.numBlocks;
  await volume.write(0, blocks(512, 1));
  await volume.write(volume.numBlocks - 512, blocks(512, 2));
  await enlarge(built, room);
  expect(volume.numBlocks).toBe(before);
  return built;
}

async function isProven({ rig }: Pick<Built, 'rig'>): Promise<void> {
  const array = arrayOf(rig, 'a');
  await until(() => array.sums !== null && !array.isUnproven && array.process === null, 'all has checksums');
  await array.processEnded;
}

async function expectAll(volume: Built['volume'], at: number, count: number, byte: number): Promise<void> {
  expect(new Set(await volume.read(at, count))).toEqual(new Set([byte]));
}

/** A bit of the first data turns over on the disk. */
function rot({ disks }: Pick<Built, 'disks'>, block = 0): void {
  disks[0]!.bytes[(dataAt + block) * 512 + 77]! ^= 4;
}

it.each(levels)('%s of %i gets checksums while clients read and write, and gives them up', async (level, members) => {
  const built = await plain(level, members, 3);
  const { rig, volume } = built;
  const array = arrayOf(rig, 'a');
  const middle = Math.floor(volume.numBlocks / 2);
  // The block is damaged before, which cannot be detected.
  await volume.write(256, blocks(8, 9));
  const written = new Map<number, number>();
  let isOver = false;
  const client = async (of: number): Promise<void> => {
    for (let round = 0; !isOver; round++) {
      const at = middle + of * 24 + (round % 3) * 8 + (round % 2);
      await volume.write(at, blocks(5, 1 + ((round + of) % 200)));
      for (let block = at; block < at + 5; block++) written.set(block, 1 + ((round + of) % 200));
      for (const [block, byte] of [...written].filter(([block]) => Math.floor((block - middle) / 24) === of))
        await expectAll(volume, block, 1, byte);
      await volume.flush();
    }
  };
  const clients = [client(0), client(1), client(2)];
  expect(await rig.arrays.enableIntegrity('a')).toBe(true);
  expect(array).toMatchObject({ hasIntegrity: true, isUnproven: true });
  expect(array.describe()).toMatchObject({ integrity: true });
  await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/has checksums already/);
  await isProven(built);
  isOver = true;
  await Promise.all(clients);
  const [record] = array.history;
  expect(record).toMatchObject({ type: 'resum', error: null, lostBlocks: 0 });
  expect(record!.unprovenBlocks).toBeGreaterThan(middle);
  expect(errorsOf(built)).toBe(0);
  rot(built, 8);
  expect(await bytesOf(volume, 7, 2)).toEqual([1, 'EIO']);
  await expectAll(volume, 16, 240, 1);
  await volume.write(8, blocks(8, 1));
  await stop(built);
  // They are on the disks, and nothing is unproven any more.
  const again = await startFrom(imagesOf(built));
  expect(arrayOf(again.rig, 'a')).toMatchObject({ hasIntegrity: true, isUnproven: false, history: [] });
  for (const [block, byte] of written) await expectAll(again.volume, block, 1, byte);
  await expectAll(again.volume, volume.numBlocks - 512, 512, 2);
  await expectAll(again.volume, 256, 8, 9);
  rot(again, 8);
  expect(await bytesOf(again.volume, 7, 2)).toEqual([1, 'EIO']);
  // Damage that they have detected stays recorded; other damage is no longer detected.
  await again.rig.arrays.disableIntegrity('a');
  const after = arrayOf(again.rig, 'a');
  expect(after).toMatchObject({ hasIntegrity: false, bitmap: null, sums: null });
  expect(after.consistency.isSettled).toBe(true);
  await expect(again.rig.arrays.disableIntegrity('a')).rejects.toThrow(/has no checksums/);
  rot(again, 24);
  expect(await bytesOf(again.volume, 7, 10)).toEqual([1, ...Array.from({ length: 8 }, () => 'EIO'), 1]);
  expect(new Set(await again.volume.read(24, 1))).toEqual(new Set([1, 1 ^ 4]));
  await again.volume.write(300, blocks(8, 3));
  const last = await startFrom(imagesOf(again));
  expect(arrayOf(last.rig, 'a')).toMatchObject({ hasIntegrity: false, bitmap: null, sums: null });
  expect(await bytesOf(last.volume, 7, 10)).toEqual([1, ...Array.from({ length: 8 }, () => 'EIO'), 1]);
  await expectAll(last.volume, 300, 8, 3);
  await last.volume.write(8, blocks(8, 4));
  const end = await startFrom(imagesOf(last));
  await expectAll(end.volume, 8, 8, 4);
  for (const one of [end, last, again]) await stop(one);
});

/** What all disks have before each I/O, and what was acknowledged by then. */
interface Moment {
  readonly images: readonly Uint8Array[];
  /** What the written blocks hold, and what they may hold instead. */
  readonly acknowledged: number;
  readonly isWriting: boolean;
}

it.each([
  ['raid0', 2, 3],
  ['concat', 2, 7],
] as const)('%s of %i loses nothing that was acknowledged, whenever the power fails', async (level, members, every) => {
  const moments: Moment[] = [];
  let steps = 0;
  let acknowledged = 0;
  const byteOf = (write: number): number => 1 + (write % 250);
  let isWriting = false;
  /** Does something while a client writes, and notes what the disks have before each I/O of it that is none of data. */
  const during = async (built: Built, work: () => Promise<void>): Promise<void> => {
    const { disks, volume } = built;
    const pagesAt = dataAt + arrayOf(built.rig, 'a').slotAt(0).dataSize;
    for (const disk of disks)
      disk.fault = ({ offsetBlocks, type }) => {
        const isData = type !== IoType.Flush && offsetBlocks >= dataAt && offsetBlocks < pagesAt;
        const isStep = type !== IoType.Read && !isData && steps++ % every === 0;
        if (isStep) moments.push({ images: imagesOf(built), acknowledged, isWriting });
        return Status.Ok;
      };
    let isOver = false;
    const client = async (): Promise<void> => {
      while (!isOver) {
        isWriting = true;
        await volume.write(100, blocks(64, byteOf(acknowledged + 1)));
        acknowledged++;
        isWriting = false;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const writing = client();
    await work();
    isOver = true;
    await writing;
    for (const disk of disks) disk.fault = () => Status.Ok;
  };
  const first = await plain(level, members);
  const { numBlocks } = first.volume;
  await during(first, async () => {
    await first.rig.arrays.enableIntegrity('a');
    await isProven(first);
  });
  await stop(first);
  // Its map is clean by now. What an earlier life has left, for other data and another key, is there the second time.
  const second = await startFrom(imagesOf(first));
  await during(second, async () => {
    await second.rig.arrays.disableIntegrity('a');
    await second.volume.write(0, blocks(64, 3));
    await second.volume.write(0, blocks(64, 1));
    await second.rig.arrays.enableIntegrity('a');
    await isProven(second);
  });
  await stop(second);
  expect(steps).toBeGreaterThan(60);
  const seen = { with: 0, without: 0 };
  for (const moment of moments) {
    const after = await startFrom(moment.images);
    const array = arrayOf(after.rig, 'a');
    seen[array.sums === null ? 'without' : 'with']++;
    const may = [byteOf(moment.acknowledged), byteOf(moment.acknowledged + (moment.isWriting ? 1 : 0))];
    const expectRight = async (): Promise<void> => {
      const found = await after.volume.read(0, 512);
      const is = (from: number, to: number, bytes: readonly number[]): void =>
        expect([...new Set(found.subarray(from * 512, to * 512))].filter((byte) => !bytes.includes(byte))).toEqual([]);
      is(0, 64, [1, 3]);
      is(64, 100, [1]);
      is(100, 164, may);
      is(164, 512, [1]);
      await expectAll(after.volume, numBlocks - 512, 512, 2);
    };
    await expectRight();
    if (array.sums !== null) await isProven(after);
    await expectRight();
    expect(errorsOf(after)).toBe(0);
    rot(after, 200);
    const answer = await after.volume.read(0, 512).then(
      () => 'read',
      () => 'EIO',
    );
    expect(answer).toBe(array.sums === null ? 'read' : 'EIO');
    await stop(after);
  }
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});

it.each(['header', 'map'] as const)('is without them, and without a map, if the %s cannot be written', async (what) => {
  const built = await plain('raid0', 2);
  const { rig, disks, volume } = built;
  const array = arrayOf(rig, 'a');
  const isOf = (block: number): boolean => (what === 'header' ? block >= 128 && block < 256 : block >= 256 && block < 512);
  disks[1]!.fault = ({ offsetBlocks, type }) => (type === IoType.Write && isOf(offsetBlocks) ? Status.IoError : Status.Ok);
  await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/could not be written/);
  expect(array).toMatchObject({ hasIntegrity: false, sums: null, bitmap: null, wantsIntegrity: false, state: 'online' });
  expect(array.consistency.isSettled).toBe(true);
  await volume.write(0, blocks(64, 5));
  await expectAll(volume, 0, 64, 5);
  // The other one may have on record that there are some.
  const after = await startFrom(imagesOf(built));
  await expectAll(after.volume, 0, 64, 5);
  await arrayOf(after.rig, 'a').processEnded;
  await expectAll(after.volume, 64, 448, 1);
  await expectAll(after.volume, 0, 64, 5);
  expect(errorsOf(after)).toBe(0);
  await stop(after);
  for (const disk of disks) disk.fault = () => Status.Ok;
  expect(await rig.arrays.enableIntegrity('a')).toBe(true);
  await isProven(built);
  rot(built);
  expect(await bytesOf(volume, 7, 2)).toEqual(['EIO', 5]);
  await stop(built);
});

it('keeps them, and its map, if it cannot be recorded that they are gone', async () => {
  const built = await plain('raid0', 2);
  const { rig, disks, volume } = built;
  await rig.arrays.enableIntegrity('a');
  await isProven(built);
  disks[1]!.fault = ({ offsetBlocks, type }) =>
    type === IoType.Write && offsetBlocks >= 128 && offsetBlocks < 256 ? Status.IoError : Status.Ok;
  await expect(rig.arrays.disableIntegrity('a')).rejects.toThrow(/could not be written/);
  disks[1]!.fault = () => Status.Ok;
  const array = arrayOf(rig, 'a');
  expect(array).toMatchObject({ hasIntegrity: true, isUnproven: false });
  expect(array.bitmap).not.toBeNull();
  rot(built);
  expect(await bytesOf(volume, 7, 2)).toEqual(['EIO', 1]);
  await stop(built);
  const again = await startFrom(imagesOf(built));
  expect(await bytesOf(again.volume, 7, 2)).toEqual(['EIO', 1]);
  await stop(again);
});

/** Holds back what a process reads of the last data on the first member. */
async function held(built: Built): Promise<void> {
  const [disk] = built.disks as [RamDisk];
  const last = arrayOf(built.rig, 'a').slotAt(0).dataSize - 8;
  disk.fault = ({ numBlocks, offsetBlocks, type }) =>
    type === IoType.Read && offsetBlocks < dataAt + last && offsetBlocks + numBlocks > dataAt + last ? null : Status.Ok;
  expect(await built.rig.arrays.enableIntegrity('a')).toBe(true);
  await until(() => disk.held.length > 0, 'it is summed');
}

function letGo({ disks }: Built, status: number = Status.Ok): void {
  for (const disk of disks) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, status);
  }
}

it('says that nothing is proven before it has been passed, and goes on with it after a crash', async () => {
  const built = await plain('raid0', 2, 3);
  const { rig, volume } = built;
  const array = arrayOf(rig, 'a');
  rig.arrays.setProcessOptions({ windowSizeKb: 64 });
  await held(built);
  expect(array).toMatchObject({ isUnproven: true });
  expect(array.process).toMatchObject({ type: 'resum' });
  // Users do not wait for it.
  await volume.write(64, blocks(8, 7));
  await expectAll(volume, 64, 8, 7);
  const images = imagesOf(built);
  const after = await startFrom(images);
  expect(arrayOf(after.rig, 'a')).toMatchObject({ hasIntegrity: true, isUnproven: true });
  await isProven(after);
  expect(arrayOf(after.rig, 'a').history[0]).toMatchObject({ type: 'resum', error: null });
  await expectAll(after.volume, 64, 8, 7);
  rot(after);
  expect(await bytesOf(after.volume, 7, 2)).toEqual(['EIO', 1]);
  await stop(after);
  // Checksums are turned off while it runs.
  const off = rig.arrays.disableIntegrity('a');
  letGo(built);
  await off;
  expect(array).toMatchObject({ hasIntegrity: false, isUnproven: false, process: null, bitmap: null });
  await expectAll(volume, 64, 8, 7);
  await stop(built);
});

it('believes no page of an earlier map if the newest one is damaged', async () => {
  const first = await plain('raid0', 2);
  await first.rig.arrays.enableIntegrity('a');
  await isProven(first);
  await stop(first);
  // All of its map is clean by now, and stays there.
  const second = await startFrom(imagesOf(first));
  await second.rig.arrays.disableIntegrity('a');
  await second.volume.write(0, blocks(64, 3));
  await held(second);
  const images = imagesOf(second);
  for (const image of images) {
    const generationAt = (block: number): bigint => new DataView(image.buffer).getBigUint64(block * 512 + 16, true);
    const newest = generationAt(256) > generationAt(264) ? 256 : 264;
    image.fill(0, newest * 512, (newest + 8) * 512);
  }
  const after = await startFrom(images);
  await expectAll(after.volume, 0, 64, 3);
  await isProven(after);
  await expectAll(after.volume, 0, 64, 3);
  await expectAll(after.volume, 64, 448, 1);
  expect(errorsOf(after)).toBe(0);
  await stop(after);
  letGo(second);
  await stop(second);
});

it('is stopped in the middle of it', async () => {
  const built = await plain('concat', 2);
  const { rig, volume } = built;
  await held(built);
  volume.descriptor.close();
  const stopped = rig.arrays.stop();
  letGo(built);
  await stopped;
  const again = await startFrom(imagesOf(built));
  await isProven(again);
  await expectAll(again.volume, 0, 512, 1);
  expect(errorsOf(again)).toBe(0);
  await stop(again);
});

it('gives what a disk returns once, and not again, no checksum, and writes it nowhere', async () => {
  for (const isCrash of [false, true]) {
    const built = await plain('raid0', 2);
    let seen: Built = built;
    if (isCrash) {
      await held(built);
      seen = await startFrom(imagesOf(built));
      letGo(built);
    } else await built.rig.arrays.enableIntegrity('a');
    const { rig, disks, volume } = seen;
    const [disk] = disks as [RamDisk];
    let lies = 0;
    disk.fault = ({ numBlocks, offsetBlocks, type }) => {
      if (type !== IoType.Read || offsetBlocks !== dataAt || numBlocks < 64 || lies > 0) return Status.Ok;
      lies++;
      rot(seen);
      // The block is restored before it is read again.
      setImmediate(() => rot(seen));
      return Status.Ok;
    };
    await isProven({ rig });
    expect(lies).toBe(1);
    disk.fault = () => Status.Ok;
    await expectAll(volume, 0, 512, 1);
    expect(errorsOf(seen)).toBe(0);
    if (isCrash) await stop(seen);
    await stop(built);
  }
});

it('writes once more what a flush may have lost before it is taken for what is there', async () => {
  for (const hasLost of [false, true]) {
    const built = await plain('raid0', 2);
    const { rig, disks, volume } = built;
    const [disk] = disks as [RamDisk];
    if (hasLost) {
      disk.fault = ({ type }) => (type === IoType.Flush ? Status.IoError : Status.Ok);
      await expect(volume.flush()).rejects.toThrow('EIO');
    }
    let written = 0;
    disk.fault = ({ offsetBlocks, numBlocks, type }) => {
      const isData = offsetBlocks >= dataAt && offsetBlocks < dataAt + 1024;
      if (isData && (type === IoType.Write || type === IoType.WriteZeroes)) written += numBlocks;
      return Status.Ok;
    };
    await rig.arrays.enableIntegrity('a');
    await isProven(built);
    expect(written > 0).toBe(hasLost);
    await stop(built);
  }
});

it('waits for room, which growth leaves, and takes it when it is there', async () => {
  for (const [level, members] of levels) {
    const built = await build(level, members, { checksumCacheBytes: 16 * KiB, mebibytes: 1 });
    const { rig, volume } = built;
    const before = volume.numBlocks;
    await volume.write(0, blocks(512, 1));
    await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/m0 \(slot 0\) lacks \d+ blocks.*Larger members have/);
    expect(await rig.arrays.enableIntegrity('a', { whenRoom: true })).toBe(false);
    await enlarge(built, 256 * KiB);
    await isProven(built);
    expect(volume.numBlocks).toBeGreaterThan(before);
    await expectAll(volume, 0, 512, 1);
    const size = volume.numBlocks;
    await stop(built);
    const again = await startFrom(imagesOf(built));
    expect(again.volume.numBlocks).toBe(size);
    expect(arrayOf(again.rig, 'a')).toMatchObject({ hasIntegrity: true, isUnproven: false });
    // Without them the array grows into what they had.
    await again.rig.arrays.disableIntegrity('a');
    await arrayOf(again.rig, 'a').resizing;
    await enlarge(again, 64 * KiB);
    expect(again.volume.numBlocks).toBeGreaterThan(size);
    await expectAll(again.volume, 0, 512, 1);
    await stop(again);
  }
});

it('is refused where there is no place for them, and of an array that is not up', async () => {
  const built = await plain('raid0', 2);
  const images = imagesOf(built);
  await stop(built);
  const rig = newRig();
  await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: images[0]!.slice() });
  await rig.registry.waitForExamine();
  await expect(rig.arrays.enableIntegrity('a')).rejects.toThrow(/configuring/);
  await rig.arrays.stop();
  const bare = newRig();
  for (const index of [0, 1])
    await plugIn(bare.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(1 << 20) });
  await bare.arrays.create({ name: 'a', level: 'raid0', baseBdevs: ['m0', 'm1'], superblock: false, stripSizeKb: 16 });
  await expect(bare.arrays.enableIntegrity('a')).rejects.toThrow(/has no superblock/);
  await bare.arrays.stop();
});

it('ends with the array when a member vanishes in the middle of it', async () => {
  const built = await plain('raid0', 2);
  const { rig, disks, volume } = built;
  for (const disk of disks)
    disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks < 256 ? null : Status.Ok);
  const on = rig.arrays.enableIntegrity('a').then(
    () => 'on',
    () => 'refused',
  );
  await until(() => disks.every((disk) => disk.held.length > 0), 'headers are being written');
  const images = imagesOf(built);
  volume.descriptor.close();
  const gone = rig.registry.unregister(rig.registry.get('m1')!);
  for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.NoDevice);
  letGo(built);
  disks[1]!.fault = () => Status.NoDevice;
  await gone;
  expect(await on).toBe('refused');
  await until(() => rig.arrays.get('a')?.state !== 'online', 'it is offline');
  await rig.arrays.stop();
  for (const image of [images, imagesOf(built)]) {
    const after = await startFrom(image);
    await expectAll(after.volume, 0, 512, 1);
    await arrayOf(after.rig, 'a').processEnded;
    await expectAll(after.volume, 0, 512, 1);
    expect(errorsOf(after)).toBe(0);
    await stop(after);
  }
});
