import { IoType } from '@raidkit/bdev';
import { canRun, minOperational } from '@raidkit/core';
import type { Media } from '../media.js';
import { sectorBytes } from '../sector.js';
import { Bench, inVirtualTime } from './bench.js';
import type { BenchParts } from './bench.js';

/** What a disk carries when it is found. */
export interface Image {
  media: Media;
  /** What the array's users had written last when this was the disk's superblock; null: none of this array that can be used. */
  epoch: number | null;
  /** Superblock and data together are those of a current member: with enough of these the array must start. */
  isCurrent: boolean;
  /** Not all members had the newest superblock yet: beside one that says they all had, this one has been away. */
  isBehind?: boolean;
  /** Says that all members had the newest superblock. */
  isSettled?: boolean;
  /** It cannot be told from this one that another one is old. */
  isBlind?: boolean;
}

/** The images of each slot's disk, by name of what happened to it. */
export type SlotImages = Map<string, Image>;

/** What an array went through before its disks are found. */
export interface History {
  id: string;
  slots: SlotImages[];
  /** Two halves were used apart: neither is the newer one. */
  isApart: boolean;
}

/** A way to spoil the area in front of the data, given its bytes; for what only the owner of the format can make. */
export interface Spoiler {
  id: string;
  spoil: (bytes: Uint8Array) => void;
  /** The disk is a member none the less. */
  isHarmless?: boolean;
  /** With {@link isHarmless}: it says nothing any more of what other members had. */
  isBlind?: boolean;
}

/**
 * Ways in which an array may have come to what is found, each really gone through. `hasOld`: members may come back as they
 * were a while ago, in a superblock that says nothing of it.
 */
export async function makeHistories(
  parts: BenchParts,
  numSlots: number,
  spoilers: readonly Spoiler[],
  hasOld: boolean,
): Promise<History[]> {
  const foreign = await foreignImages(parts, numSlots);
  const histories = [await together(parts, numSlots)];
  const least = minOperational(parts.module, numSlots, parts.levelOptions);
  if (least < numSlots) {
    for (const out of [0, numSlots - 1])
      histories.push(await takenOut(parts, numSlots, [out]), await halfRebuilt(parts, numSlots, out));
    const two = [0, numSlots - 1];
    if (least > 1 && canRun(parts.module, numSlots, two, parts.levelOptions))
      histories.push(await takenOut(parts, numSlots, two));
    if (least === 1) histories.push(await apart(parts, numSlots));
  }
  for (const { slots } of histories) {
    slots.forEach((images, slot) => {
      if (!hasOld) images.delete('old');
      const last = images.get('current') ?? images.get('own') ?? [...images.values()][0];
      const other = foreign[slot];
      if (last === undefined || other === undefined) return;
      images.set('foreign', { media: other, epoch: null, isCurrent: false });
      images.set(
        'zero',
        spoiled(last, parts.store.reservedBytes, (bytes) => void bytes.fill(0)),
      );
      for (const { id, spoil, isHarmless = false, isBlind = false } of spoilers) {
        const image = spoiled(last, parts.store.reservedBytes, spoil);
        const blind = isBlind ? { isSettled: false, isBlind } : {};
        images.set(id, isHarmless ? { ...last, media: image.media, ...blind } : image);
      }
    });
  }
  return histories;
}

/** All members were there all the time; the last start may not have got everywhere. */
async function together(parts: BenchParts, numSlots: number): Promise<History> {
  const bench = new Bench(parts, numSlots);
  return inVirtualTime(bench.world, async () => {
    await bench.create();
    await bench.write(1);
    await bench.stop();
    const old = snapshot(bench);
    await bench.assemble();
    await bench.write(2);
    await bench.stop();
    const behind = snapshot(bench);
    const written = watchWrites(bench);
    await bench.assemble();
    const order = written();
    // What a crash would find: the stop writes to the same places once more.
    const started = snapshot(bench);
    await bench.stop();
    const current = snapshot(bench);
    const slots = current.map((media, slot): SlotImages => {
      const before = at(behind, slot);
      const images: SlotImages = new Map([
        ['current', { media, epoch: 2, isCurrent: true, isSettled: true }],
        ['behind', { media: before, epoch: 2, isCurrent: true, isBehind: true }],
        ['old', { media: at(old, slot), epoch: 1, isCurrent: false }],
      ]);
      const { sectors, cuts } = at(order, slot);
      // The superblock is in the first sector, and its second copy in one more. What is written after them says that all
      // members have theirs.
      const written = sectors.indexOf(0) + 1;
      images.set('written', { media: mixed(before, at(started, slot), sectors.slice(0, written)), epoch: 2, isCurrent: true });
      for (const count of cuts) {
        if (count === written) continue;
        const after = mixed(before, at(started, slot), sectors.slice(0, count));
        images.set(`torn ${count}`, {
          media: after,
          epoch: 2,
          isCurrent: true,
          isBehind: count < written,
          isSettled: count > written + 1,
        });
      }
      return images;
    });
    return { id: 'together', slots, isApart: false };
  });
}

/** Members were taken out one after another, and the others went on after each. */
async function takenOut(parts: BenchParts, numSlots: number, outs: readonly number[]): Promise<History> {
  const bench = new Bench(parts, numSlots);
  return inVirtualTime(bench.world, async () => {
    await bench.create();
    await bench.write(1);
    await bench.stop();
    await bench.assemble();
    const old = snapshot(bench);
    let epoch = 1;
    for (const out of outs) {
      await bench.stack.arrays.removeBaseBdev(`d${out}`);
      await bench.write(++epoch);
    }
    await bench.stop();
    const behind = snapshot(bench);
    const others = bench.disks.filter((_, slot) => !outs.includes(slot));
    await bench.assemble(others);
    await bench.stop();
    const current = snapshot(bench);
    const slots = current.map((media, slot): SlotImages => {
      const turn = outs.indexOf(slot);
      if (turn >= 0) return new Map([['own', { media, epoch: turn + 1, isCurrent: false }]]);
      return new Map([
        ['current', { media, epoch, isCurrent: true, isSettled: true }],
        ['behind', { media: at(behind, slot), epoch, isCurrent: true, isBehind: true }],
        ['old', { media: at(old, slot), epoch: 1, isCurrent: false }],
      ]);
    });
    return { id: `slot ${outs.join(' and ')} out`, slots, isApart: false };
  });
}

/** A member that had been out was being rebuilt when the process died. */
async function halfRebuilt(parts: BenchParts, numSlots: number, out: number): Promise<History> {
  const bench = new Bench(parts, numSlots);
  return inVirtualTime(bench.world, async () => {
    await bench.create();
    await bench.write(1);
    await bench.stack.arrays.removeBaseBdev(`d${out}`);
    await bench.write(2);
    await bench.stop();
    const old = snapshot(bench);
    await bench.assemble(bench.disks.filter((_, slot) => slot !== out));
    if (bench.array.process !== null) bench.stack.arrays.pauseProcess(bench.arrayName);
    await bench.plugIn([bench.disks[out]].filter((disk) => disk !== undefined));
    // One window only, so that it is certain to be interrupted.
    bench.stack.arrays.processOptions.maxBandwidthMbSec = 0.001;
    if (bench.array.process === null && bench.array.numInSync < numSlots && bench.array.slots[out]?.isRebuilding !== true) {
      await bench.stack.arrays.addBaseBdev(bench.arrayName, `d${out}`);
    }
    while ((bench.array.process?.offsetBlocks ?? 0) === 0) await bench.world.sleep(0.1);
    bench.kill();
    const current = snapshot(bench);
    const slots = current.map((media, slot): SlotImages => {
      if (slot === out) return new Map([['half', { media, epoch: 2, isCurrent: false }]]);
      return new Map([
        ['current', { media, epoch: 2, isCurrent: true }],
        ['old', { media: at(old, slot), epoch: 2, isCurrent: false }],
      ]);
    });
    return { id: `slot ${out} half rebuilt`, slots, isApart: false };
  });
}

/** Each of the first two members was used without the others. */
async function apart(parts: BenchParts, numSlots: number): Promise<History> {
  const bench = new Bench(parts, numSlots);
  return inVirtualTime(bench.world, async () => {
    await bench.create();
    await bench.write(1);
    await bench.stop();
    const old = snapshot(bench);
    for (const slot of [0, 1]) {
      await bench.assemble(bench.disks.filter((_, index) => index === slot));
      await bench.write(2 + slot);
      await bench.stop();
    }
    const halves = snapshot(bench);
    // The second half once more, so that its superblock is the newer one of the two.
    await bench.assemble(bench.disks.filter((_, index) => index === 1));
    await bench.stop();
    const newer = snapshot(bench);
    const slots = halves.map((media, slot): SlotImages => {
      if (slot > 1) return new Map([['own', { media: at(old, slot), epoch: 1, isCurrent: false }]]);
      const images: SlotImages = new Map([['half', { media, epoch: 2 + slot, isCurrent: true }]]);
      if (slot === 1) images.set('newer half', { media: at(newer, slot), epoch: 3, isCurrent: true });
      return images;
    });
    return { id: 'used apart', slots, isApart: true };
  });
}

/** The same devices as members of another array. */
async function foreignImages(parts: BenchParts, numSlots: number): Promise<Media[]> {
  const bench = new Bench(parts, numSlots, { seed: 99, arrayName: 'foreign' });
  return inVirtualTime(bench.world, async () => {
    await bench.create();
    await bench.write(99);
    await bench.stop();
    return snapshot(bench);
  });
}

function snapshot(bench: Bench): Media[] {
  return bench.disks.map(({ media }) => media.clone());
}

/** Writes of more sectors than this clear an area: torn in the middle they are as torn anywhere else. */
const mostTornSectors = 64;

/** What a start writes to one disk. */
interface WriteOrder {
  /** In the order in which they are written. */
  sectors: number[];
  /** Numbers of them after which a crash is tried. */
  cuts: number[];
}

/** Sectors in front of the data in the order in which they are written, for each disk. */
function watchWrites(bench: Bench): () => WriteOrder[] {
  const orders = bench.disks.map((disk) => {
    const order: WriteOrder = { sectors: [], cuts: [] };
    const perBlock = disk.blockSize / sectorBytes;
    disk.onSubmit = (io) => {
      if (io.type !== IoType.Write) return;
      const count = io.numBlocks * perBlock;
      for (let i = 0; i < count; i++) {
        const isCut = count <= mostTornSectors || i === 0 || i === count >> 1;
        if (isCut && order.sectors.length > 0) order.cuts.push(order.sectors.length);
        order.sectors.push(io.offsetBlocks * perBlock + i);
      }
    };
    return order;
  });
  return () => {
    for (const disk of bench.disks) disk.onSubmit = null;
    return orders;
  };
}

/** `before`, but with these sectors as they are in `after`. */
function mixed(before: Media, after: Media, sectors: readonly number[]): Media {
  const media = before.clone();
  const bytes = new Uint8Array(sectorBytes);
  for (const sector of sectors) {
    after.read(bytes, 0, sector * sectorBytes, sectorBytes);
    media.write(sector * sectorBytes, bytes, 0, sectorBytes);
  }
  return media;
}

function spoiled({ media }: Image, reservedBytes: number, spoil: (bytes: Uint8Array) => void): Image {
  const copy = media.clone();
  const bytes = new Uint8Array(reservedBytes);
  copy.read(bytes, 0, 0, reservedBytes);
  const before = bytes.slice();
  spoil(bytes);
  for (let start = 0; start < reservedBytes; start += sectorBytes) {
    let differs = false;
    for (let i = start; i < start + sectorBytes && !differs; i++) differs = bytes[i] !== before[i];
    if (differs) copy.write(start, bytes, start, sectorBytes);
  }
  return { media: copy, epoch: null, isCurrent: false };
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new RangeError(`there is no slot ${index}`);
  return found;
}
