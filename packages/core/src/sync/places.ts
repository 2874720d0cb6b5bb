import type { RaidLevel } from '../level/level.js';
import type { Slot } from '../members/slot.js';
import type { SyncHost } from './host.js';

/** A range of a member's data area from block `at` on. Its length is given separately. */
export interface Place {
  readonly slot: Slot;
  readonly at: number;
}

/** A range that is compared at a time. */
export interface Piece {
  /** Number of blocks of each place. */
  readonly count: number;
  /** The places of each set hold the same data. Empty for parity, which is compared at block {@link at} of every member. */
  readonly sets: readonly (readonly Place[])[];
  readonly at: number;
}

/**
 * Returns the ranges to compare for blocks `[at, +count)` of every member. If copies lie at different blocks, these are a whole
 * stripe.
 */
export function piecesOf({ level, slots }: SyncHost, at: number, count: number, most: number): Piece[] {
  if (level?.copySets === undefined) {
    const sets = level?.copyGroups?.map((group) => placesOf(slots, group, at)) ?? [];
    return [{ at, count, sets }];
  }
  return level.copySets.flatMap(({ numBlocks, places }) => {
    const pieces: Piece[] = [];
    for (let done = 0; done < numBlocks; done += most) {
      const set = slotsInOrder(slots, places).map(({ slot, offsetBlocks }) => ({ slot, at: at + offsetBlocks + done }));
      pieces.push({ at, count: Math.min(most, numBlocks - done), sets: [set] });
    }
    return pieces;
  });
}

/** Returns `count` blocks of the piece, from its block `from` on. */
export function partOf(piece: Piece, from: number, count: number): Piece {
  const sets = piece.sets.map((set) => set.map(({ at, slot }) => ({ slot, at: at + from })));
  return { count, sets, at: piece.at + from };
}

/** Returns the places that determine the data of the slot's block `at`, including the block itself. */
export function sourcesOf({ level, slots, currentGeometry }: SyncHost, slot: number, at: number): Place[] {
  const stripe = currentGeometry?.stripe;
  if (level?.copySets === undefined || stripe === undefined) return slots.map((other) => ({ slot: other, at }));
  const inStripe = at % stripe.memberBlocks;
  for (const { numBlocks, places } of level.copySets) {
    const own = places.find(
      (place) => place.slot === slot && place.offsetBlocks <= inStripe && inStripe < place.offsetBlocks + numBlocks,
    );
    if (own === undefined) continue;
    const shift = at - own.offsetBlocks;
    return slotsInOrder(slots, places).map(({ slot: other, offsetBlocks }) => ({ slot: other, at: shift + offsetBlocks }));
  }
  return [];
}

/** Returns the sets of slots that hold copies of the same data, at the same or at different blocks; empty for parity. */
export function slotsOfCopies({ copyGroups, copySets }: Pick<RaidLevel, 'copyGroups' | 'copySets'>): (readonly number[])[] {
  return [...(copyGroups ?? []), ...(copySets?.map(({ places }) => places.map(({ slot }) => slot)) ?? [])];
}

function placesOf(slots: readonly Slot[], group: readonly number[], at: number): Place[] {
  return slots.filter(({ index }) => group.includes(index)).map((slot) => ({ slot, at }));
}

function slotsInOrder<T extends { slot: number }>(
  slots: readonly Slot[],
  places: readonly T[],
): (Omit<T, 'slot'> & { slot: Slot })[] {
  return places.flatMap((place) => {
    const slot = slots[place.slot];
    return slot === undefined ? [] : [{ ...place, slot }];
  });
}
