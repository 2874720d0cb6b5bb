import { Status } from '@raidkit/bdev';
import type { RaidArray, RaidGeometry, RaidLevel } from '@raidkit/core';
import type { ReadRequest } from '@raidkit/core/level';
import type { AnyRequest } from './level-tap/tap.js';

/** Blocks `[from, to)` of a slot's data area, which hold the volume's blocks from `start` on. */
export interface PlainPlace {
  slot: number;
  from: number;
  to: number;
  start: number;
}

/** Bytes that one checksum covers. */
const summedBytes = 4096;
/** Largest number of blocks that the level is asked for at once, where its geometry has no boundaries. */
const mostBlocks = 4096;

/** Where a level without redundancy keeps each block: runs in the order of the volume, and for each slot in that of its data. */
interface Layout {
  geometry: RaidGeometry;
  runs: readonly PlainPlace[];
  bySlot: readonly (readonly PlainPlace[])[];
}

const layouts = new WeakMap<RaidArray, Layout>();

/**
 * Returns where `count` blocks of an array without redundancy from `offset` on are. Core does not know this, so the level is
 * asked. Returns nothing if the array has never been online.
 */
export function placesOf(array: RaidArray, offset: number, count: number): PlainPlace[] {
  const { runs } = layoutOf(array);
  const end = offset + count;
  const places: PlainPlace[] = [];
  for (const { slot, from, to, start } of runs.slice(Math.max(indexAt(runs, offset, 'start'), 0))) {
    if (start >= end) break;
    const first = Math.max(offset - start, 0);
    const last = Math.min(end - start, to - from);
    if (first < last) places.push({ slot, from: from + first, to: from + last, start: start + first });
  }
  return places;
}

/** Returns the volume's block at a block of a slot's data area; -1 if it holds none. */
export function volumeBlockOf(array: RaidArray, slot: number, block: number): number {
  const runs = layoutOf(array).bySlot[slot] ?? [];
  const run = runs[indexAt(runs, block, 'from')];
  return run === undefined || block >= run.to ? -1 : run.start + block - run.from;
}

/** Whether each checksum covers blocks that are consecutive on the volume too. */
export function hasWholeSums(array: RaidArray): boolean {
  const perSum = summedBytes / array.blockSize;
  const isWhole = (blocks: number): boolean => blocks % perSum === 0;
  if (array.module.redundancy !== 'none') return array.currentGeometry?.memberBlocks.every(isWhole) !== false;
  return layoutOf(array).runs.every(({ from, start, to }) => isWhole(from) && isWhole(to) && isWhole(start));
}

/** Returns the index of the last run that begins at this block or before it; -1 if there is none. */
function indexAt(runs: readonly PlainPlace[], block: number, key: 'from' | 'start'): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((runs[middle]?.[key] ?? Infinity) <= block) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function layoutOf(array: RaidArray): Layout {
  const { currentGeometry: geometry, level } = array;
  let layout = layouts.get(array);
  // An array that has gone offline has no level, and is as it was.
  if (geometry !== null && level !== null && layout?.geometry !== geometry)
    layouts.set(array, (layout = learn(level, geometry, array)));
  return layout ?? { geometry: { numBlocks: 0, memberBlocks: [] }, runs: [], bySlot: [] };
}

/** Asks the level to read the whole volume, and notes from where. */
function learn(level: RaidLevel, geometry: RaidGeometry, { blockSize, numSlots }: RaidArray): Layout {
  const { numBlocks, optimalIoBoundary = 0, splitOnBoundary = false } = geometry;
  const step = splitOnBoundary ? optimalIoBoundary : mostBlocks;
  const runs: PlainPlace[] = [];
  for (let at = 0; at < numBlocks; at += step) {
    const parts: PlainPlace[] = [];
    const read = noted(at, Math.min(step, numBlocks - at), (slot, from, count, addr) => {
      parts.push({ slot, from, to: from + count, start: at + addr / blockSize });
    });
    level.submitRw(read);
    for (const part of parts.sort((a, b) => a.start - b.start)) append(runs, part);
  }
  const bySlot = Array.from({ length: numSlots }, (_, slot) =>
    runs.filter((run) => run.slot === slot).sort((a, b) => a.from - b.from),
  );
  return { geometry, runs, bySlot };
}

/** Adds a run, or makes the last one longer. */
function append(runs: PlainPlace[], next: PlainPlace): void {
  const last = runs[runs.length - 1];
  if (last?.slot === next.slot && last.to === next.from) last.to = next.to;
  else runs.push(next);
}

/** Returns a read into a buffer at address 0 that reads nothing, and tells of its parts. Without redundancy that is all of it. */
function noted(offsetBlocks: number, numBlocks: number, readPart: AnyRequest['readPart']): ReadRequest {
  const nothing = (): void => undefined;
  const request: AnyRequest = {
    kind: 'read',
    offsetBlocks,
    numBlocks,
    addr: 0,
    slots: [],
    addrs: [],
    unreadable: [],
    failed: [],
    stepStatus: Status.Ok,
    hasMember: () => true,
    readPart,
    writePart: nothing,
    zeroPart: nothing,
    unmapPart: nothing,
    andThen: nothing,
    lock: nothing,
    hold: nothing,
    release: nothing,
    end: nothing,
    fail: nothing,
    journal: nothing,
    trimmed: nothing,
    requestRepair: nothing,
    writeBack: nothing,
  };
  // A tap sets and deletes methods of the request itself.
  return Object.create(request) as ReadRequest;
}
