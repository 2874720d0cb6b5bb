import { IoType } from '@raidkit/bdev';
import { canRun, minOperational } from '@raidkit/core';
import type { Media } from '../media.js';
import { sectorBytes } from '../sector.js';
import { Bench, inVirtualTime } from './bench.js';
import type { BenchParts } from './bench.js';

/** Contents of a disk when it is found. */
export interface Image {
  media: Media;
  /** Epoch that users had written last when this was the disk's superblock; null: the disk has nothing usable of this array. */
  epoch: number | null;
  /** Superblock and data are those of a current member: with enough of these the array must start. */
  isCurrent: boolean;
  /**
   * The superblock was written before all members had the newest one. Beside an image with {@link isSettled} this disk counts
   * as having been absent.
   */
  isBehind?: boolean;
  /** Records that all members had the newest superblock. */
  isSettled?: boolean;
  /** This image does not show that another one is outdated. */
  isBlind?: boolean;
}

/** Images of a slot's disk, by the name of what happened to it. */
export type SlotImages = Map<string, Image>;

/** What happened to an array before its disks are found. */
export interface History {
  id: string;
  slots: SlotImages[];
  /** Two halves were used separately (split brain), so neither is newer. */
  isApart: boolean;
}

/** A way to damage the metadata area, given its bytes; for damage that only the owner of the format can make. */
export interface Spoiler {
  id: string;
  spoil: (bytes: Uint8Array) => void;
  /** The disk is a member nevertheless. */
  isHarmless?: boolean;
  /** With {@link isHarmless}: the disk no longer records what other members had. */
  isBlind?: boolean;
}

/**
 * Makes the histories of an array by actually going through them. `hasOld`: members may come back with old contents whose
 * superblock does not show that.
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

/** All members were present throughout; the last start may have reached only some of them. */
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
    // What a crash would find. The stop writes to the same places again.
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
      // The superblock is in the first sector, and its second copy in another. What is written after them records that all
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

/** Members were removed one after another, and the others went on after each removal. */
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

/** A removed member was being rebuilt when the process died. */
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
    // Slow enough that the rebuild is certain to be interrupted.
    bench.stack.arrays.setProcessOptions({ maxBandwidthMbSec: 0.001 });
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

/** The first two members were each used without the others. */
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
    // The second half is used again, so that its superblock is the newer one.
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

/** Images of the same devices as members of another array. */
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

/** Longer writes, in sectors, clear an area: tearing them in the middle adds nothing to the other cases. */
const mostTornSectors = 64;

/** Order of a start's metadata writes to one disk. */
interface WriteOrder {
  /** Sectors, in the order in which they are written. */
  sectors: number[];
  /** Numbers of written sectors after which a crash is tried. */
  cuts: number[];
}

/** Records the order in which sectors before the data are written, for each disk. */
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

/** Returns `before` with these sectors as in `after`. */
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
