import { BlockClient } from '@raidkit/bdev';
import type { SyncHost } from './host.js';
import { halfOf } from './salvage.js';
import type { Place } from './places.js';
import type { SyncOptions } from './task.js';
import type { Slot } from '../members/slot.js';

/** Result of a repair of differing copies. */
export interface MajorityResult {
  /** Blocks that were rewritten: `[slot, offset, count]` in blocks of the members' data areas. */
  rewritten: [slot: number, offset: number, count: number][];
  /** Runs of blocks without a majority, which were left unchanged: `[offset, count]` relative to the first place. */
  undecided: [offset: number, count: number][];
}

/**
 * Makes copies agree, block by block; the places must be quiesced. What more than half of the readable copies hold is right or,
 * if a slot with a copy is named, what that copy holds. A copy that is named as wrong does not count. Undecided blocks are left
 * unchanged. Rejects if a copy cannot be written and the array cannot do without it.
 */
export async function repairByMajority(
  array: SyncHost,
  places: readonly Place[],
  count: number,
  { source = -1, wrong = -1 }: Pick<SyncOptions, 'source' | 'wrong'>,
): Promise<MajorityResult> {
  const { blockSize } = array;
  const offset = places[0]?.at ?? 0;
  const copies = await readCopies(array, places, count);
  if (count > array.blocksTogether && copies.some(({ data }) => data === null)) {
    // Halves the range until unreadable blocks are isolated. Only those are rewritten without being compared.
    const half = halfOf(array, count);
    const first = await repairByMajority(array, places, half, { source, wrong });
    const rest = places.map(({ at, slot }) => ({ slot, at: at + half }));
    const second = await repairByMajority(array, rest, count - half, { source, wrong });
    return { rewritten: [...first.rewritten, ...second.rewritten], undecided: [...first.undecided, ...second.undecided] };
  }
  const result: MajorityResult = { rewritten: [], undecided: [] };
  const heard = copies.filter(({ slot }) => slot.index !== wrong);
  const named = places.some(({ slot }) => slot.index === source) ? source : null;
  const right = new Uint8Array(count * blockSize);
  const isDecided = new Array<boolean>(count).fill(false);
  for (let block = 0; block < count; block++) {
    const range = [block * blockSize, (block + 1) * blockSize] as const;
    const truth = decide(heard, range, named);
    if (truth === null) continue;
    right.set(truth, range[0]);
    isDecided[block] = true;
  }
  result.undecided = runs(count, (block) => isDecided[block] !== true).map(([from, length]) => [offset + from, length]);
  for (const { at, data, slot } of copies) {
    const isWrong = (block: number): boolean => {
      if (isDecided[block] !== true) return false;
      if (data === null) return true;
      return (
        Buffer.compare(
          data.subarray(block * blockSize, (block + 1) * blockSize),
          right.subarray(block * blockSize, (block + 1) * blockSize),
        ) !== 0
      );
    };
    for (const [from, length] of runs(count, isWrong)) {
      await writeCopy(array, slot, at + from, right.subarray(from * blockSize, (from + length) * blockSize));
      result.rewritten.push([slot.index, at + from, length]);
    }
  }
  return result;
}

interface Copy extends Place {
  /** Null if it cannot be read. */
  data: Uint8Array | null;
}

function readCopies(array: SyncHost, places: readonly Place[], count: number): Promise<Copy[]> {
  return Promise.all(
    places
      .filter(({ slot }) => slot.isInSync)
      .map(async ({ at, slot }): Promise<Copy> => {
        if (slot.descriptor === null || slot.data === null || array.badBlocks.has(slot.index, at, count))
          return { slot, at, data: null };
        slot.partBegan();
        try {
          return { slot, at, data: await new BlockClient(slot.descriptor, slot.data).read(slot.dataOffset + at, count) };
        } catch {
          if (count <= array.blocksTogether) slot.countReadError();
          return { slot, at, data: null };
        } finally {
          slot.partEnded();
        }
      }),
  );
}

/** Returns what the block must hold; null if undecided. */
function decide(copies: readonly Copy[], [start, end]: readonly [number, number], source: number | null): Uint8Array | null {
  const readable = copies.flatMap(({ slot, data }) =>
    data === null ? [] : [{ index: slot.index, bytes: data.subarray(start, end) }],
  );
  if (source !== null) return readable.find(({ index }) => index === source)?.bytes ?? null;
  for (const { bytes } of readable) {
    const alike = readable.filter((other) => Buffer.compare(other.bytes, bytes) === 0).length;
    if (alike * 2 > readable.length) return bytes;
  }
  return null;
}

async function writeCopy(array: SyncHost, slot: Slot, offset: number, data: Uint8Array): Promise<void> {
  if (slot.descriptor === null || slot.data === null || !slot.isInSync) return;
  slot.partBegan();
  try {
    await new BlockClient(slot.descriptor, slot.data).write(slot.dataOffset + offset, data);
    array.noteWritten(slot.index, offset, data.length / array.blockSize);
  } catch (error) {
    if (!array.failMember(slot.index, 'it could not be made consistent')) throw error;
  } finally {
    slot.partEnded();
  }
}

/** Returns the runs of indexes in `[0, count)` for which `holds` returns true. */
function runs(count: number, holds: (index: number) => boolean): [from: number, length: number][] {
  const found: [number, number][] = [];
  for (let index = 0; index < count; index++) {
    if (!holds(index)) continue;
    const last = found[found.length - 1];
    if (last !== undefined && last[0] + last[1] === index) last[1]++;
    else found.push([index, 1]);
  }
  return found;
}
