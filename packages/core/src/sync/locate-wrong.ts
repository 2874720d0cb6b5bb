import type { SyncHost } from './host.js';
import { reconstructInto } from '../io/reconstruct.js';
import type { Slot } from '../members/slot.js';

/** Blocks of a slot's data area that are not what redundancy says. */
export type Difference = [slot: Slot, at: number, count: number];

/** Buffers of as many blocks as the longest difference. */
interface Buffers {
  readonly wanted: number;
  readonly found: number;
}

/**
 * Where all parities of a stripe disagree with its data, one member's data may be what is wrong: that from which, worked out
 * anew, each parity makes the same. Returns the blocks of which that is true of one slot alone; none for a level that cannot
 * work data out from each parity alone. Rejects with a `BdevError` if something could not be read. With P and Q that is so of any one wrong chunk. Two wrong ones look so too only where at each of their bytes both
 * happen to be off as a third one would be.
 *
 * The stripes are quiesced, all members are there, and `differing` is what each parity, the others left out, disagrees about.
 */
export async function locateWrong(array: SyncHost, differing: readonly Difference[], buffers: Buffers): Promise<Difference[]> {
  const parity = parityOf(array, differing);
  const data = array.slots.filter((slot) => !parity.includes(slot));
  const isEnough = (own: Slot, one: Slot): boolean =>
    array.canRunWith((slot) => slot !== one && (slot === own || !parity.includes(slot)));
  if (!data.every((one) => parity.every((own) => isEnough(own, one)))) return [];
  const located: Difference[] = [];
  for (const [at, count] of commonTo(parity, differing)) await locate(array, { data, parity }, at, count, buffers, located);
  return located;
}

/** What is left of differences of parity when those are explained. */
export function without(differing: readonly Difference[], explained: readonly Difference[]): Difference[] {
  let left = [...differing];
  for (const [, from, blocks] of explained) {
    left = left.flatMap(([slot, at, count]): Difference[] => {
      const before = Math.min(count, from - at);
      const after = Math.min(count, at + count - from - blocks);
      if (before >= count || after >= count) return [[slot, at, count]];
      const parts: Difference[] = [];
      if (before > 0) parts.push([slot, at, before]);
      if (after > 0) parts.push([slot, at + count - after, after]);
      return parts;
    });
  }
  return left;
}

/**
 * What is left, apart: blocks of one parity with which another one does not disagree, so that it is wrong and the data is
 * right; and those of which all parities disagree, for a reason that is not known.
 */
export function apart(array: SyncHost, left: readonly Difference[]): { alone: Difference[]; together: Difference[] } {
  const parity = parityOf(array, left);
  const common = commonTo(parity, left);
  return {
    alone: parity.flatMap((slot) =>
      without(
        left.filter(([other]) => other === slot),
        common.map(([at, count]) => [slot, at, count]),
      ),
    ),
    together: parity.flatMap((slot) => common.map(([at, count]): Difference => [slot, at, count])),
  };
}

/** Slots that hold parity in the stripe in which the differences are. */
function parityOf(array: SyncHost, differing: readonly Difference[]): Slot[] {
  const stripe = Math.floor((differing[0]?.[1] ?? 0) / array.stripe().memberBlocks);
  const redundant = array.level?.redundantSlots?.(stripe) ?? [];
  return array.slots.filter(({ index }) => redundant.includes(index));
}

interface Stripe {
  readonly data: readonly Slot[];
  readonly parity: readonly Slot[];
}

/** All blocks are one member's, or it is looked for in halves. */
async function locate(
  array: SyncHost,
  stripe: Stripe,
  at: number,
  count: number,
  buffers: Buffers,
  located: Difference[],
): Promise<void> {
  const suspects: Slot[] = [];
  for (const slot of stripe.data) if (await isExplainedBy(array, stripe, slot, at, count, buffers)) suspects.push(slot);
  const [wrong] = suspects;
  if (wrong !== undefined && suspects.length === 1) {
    const last = located[located.length - 1];
    if (last?.[0] === wrong && last[1] + last[2] === at) last[2] += count;
    else located.push([wrong, at, count]);
  } else if (count > 1) {
    const half = count >> 1;
    await locate(array, stripe, at, half, buffers, located);
    await locate(array, stripe, at + half, count - half, buffers, located);
  }
}

/** Each parity, the others left out, makes the same of the slot's blocks. */
async function isExplainedBy(
  array: SyncHost,
  { parity }: Stripe,
  { index }: Slot,
  at: number,
  count: number,
  { wanted, found }: Buffers,
): Promise<boolean> {
  const others = (own: Slot): number[] => parity.filter((slot) => slot !== own).map((slot) => slot.index);
  for (const [i, slot] of parity.entries()) {
    await reconstructInto(array, index, at, count, i === 0 ? wanted : found, others(slot));
    if (i > 0 && !array.memory.equal(wanted, found, count * array.blockSize)) return false;
  }
  return true;
}

/** Blocks in which all of the parities disagree, in ascending order. */
function commonTo(parity: readonly Slot[], differing: readonly Difference[]): [at: number, count: number][] {
  let common: [number, number][] | null = null;
  for (const slot of parity) {
    const own = differing.filter(([other]) => other === slot).map(([, at, count]): [number, number] => [at, count]);
    common = common === null ? own : common.flatMap((range) => own.flatMap((other) => overlap(range, other)));
  }
  return common ?? [];
}

function overlap([a, n]: readonly [number, number], [b, m]: readonly [number, number]): [number, number][] {
  const from = Math.max(a, b);
  const count = Math.min(a + n, b + m) - from;
  return count > 0 ? [[from, count]] : [];
}
