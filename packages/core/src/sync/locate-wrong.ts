import type { SyncHost } from './host.js';
import { reconstructInto } from '../io/reconstruct.js';
import type { Slot } from '../members/slot.js';

/** Blocks of a slot's data area that differ from what redundancy says. */
export type Difference = [slot: Slot, at: number, count: number];

/** Two buffers, each large enough for the longest difference. */
interface Buffers {
  readonly wanted: number;
  readonly found: number;
}

/**
 * If all parities of a stripe disagree with its data, one member's data may be wrong: the one for which each parity alone
 * reconstructs the same data. Resolves to the blocks for which that holds for exactly one slot; none if the level cannot
 * reconstruct data from each parity alone. With P and Q it holds for any one wrong chunk; for two wrong chunks only if in each
 * byte they happen to match an error of a third one. Rejects with a `BdevError` if something cannot be read.
 *
 * The stripes must be quiesced and all members present. `differing` is what each parity, without the others, disagrees about.
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

/** Returns the differences of parity that remain after removing the explained ones. */
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
 * Divides the remaining differences. `alone`: blocks in which only some parity disagrees, so that it is wrong and the data is
 * right. `together`: blocks in which all parities disagree for an unknown reason.
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

/** Returns the slots that hold parity in the stripe of the differences. */
function parityOf(array: SyncHost, differing: readonly Difference[]): Slot[] {
  const stripe = Math.floor((differing[0]?.[1] ?? 0) / array.stripe().memberBlocks);
  const redundant = array.redundantSlots(stripe);
  return array.slots.filter(({ index }) => redundant.includes(index));
}

interface Stripe {
  readonly data: readonly Slot[];
  readonly parity: readonly Slot[];
}

/** Locates the wrong member for all of the blocks, or separately for their halves. */
async function locate(
  array: SyncHost,
  stripe: Stripe,
  at: number,
  count: number,
  buffers: Buffers,
  located: Difference[],
): Promise<void> {
  const explaining: Slot[] = [];
  for (const slot of stripe.data) if (await isExplainedBy(array, stripe, slot, at, count, buffers)) explaining.push(slot);
  const [wrong] = explaining;
  if (wrong !== undefined && explaining.length === 1) {
    const last = located[located.length - 1];
    if (last?.[0] === wrong && last[1] + last[2] === at) last[2] += count;
    else located.push([wrong, at, count]);
  } else if (count > 1) {
    const half = count >> 1;
    await locate(array, stripe, at, half, buffers, located);
    await locate(array, stripe, at + half, count - half, buffers, located);
  }
}

/** Whether each parity, without the others, reconstructs the same data for the slot. */
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

/** Returns the blocks in which all parities disagree, in ascending order. */
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
