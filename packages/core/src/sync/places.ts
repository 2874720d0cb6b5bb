import type { RaidLevel } from '../level/level.js';
import type { Slot } from '../members/slot.js';
import type { SyncHost } from './host.js';

/** Blocks of one member's data area, from `at` on; how many, is said beside it. */
export interface Place {
  readonly slot: Slot;
  readonly at: number;
}

/** Blocks that are compared at a time. */
export interface Piece {
  /** Blocks of each place. */
  readonly count: number;
  /** The places of each set hold the same. None: there is parity, and it is compared at block {@link at} of every member. */
  readonly sets: readonly (readonly Place[])[];
  readonly at: number;
}

/** Blocks `[at, +count)` of every member, as they are compared; where copies lie at other blocks these are a whole stripe. */
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

/** `count` of the piece's blocks, from block `from` of it on. */
export function partOf(piece: Piece, from: number, count: number): Piece {
  const sets = piece.sets.map((set) => set.map(({ at, slot }) => ({ slot, at: at + from })));
  return { count, sets, at: piece.at + from };
}

/** Places of the blocks that say what the slot's block `at` must hold, its own among them. */
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

/** Slots of which each holds what the others do, at the same blocks or elsewhere; none with parity. */
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
