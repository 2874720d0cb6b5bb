import type { BdevIo, IoOwner } from '@raidkit/bdev';
import type { JournalEntryHandle, RaidIo } from '../level/raid-io.js';
import type { Slot } from '../members/slot.js';

export const PlaceState = {
  Free: 0,
  /** The entry, or the blocks that it stands for, are being written. */
  Busy: 1,
  /** Those blocks are on the members, though perhaps only in their caches. */
  Written: 2,
} as const;
export type PlaceState = (typeof PlaceState)[keyof typeof PlaceState];

/** Told when the I/O that writes a place has ended. */
interface PlaceOwner {
  onPlaceDone(place: JournalPlace, part: BdevIo): void;
}

/** One place in the ring of a member, and the I/O that writes it. */
export class JournalPlace implements IoOwner, JournalEntryHandle {
  state: PlaceState = PlaceState.Free;
  /** What was last written here in this epoch, or was to be; 0 for nothing. */
  id = 0;
  /** This is a mark, of entries up to this id; 0 for an entry. */
  overTo = 0;
  io: RaidIo | null = null;
  /** The blocks of every member's data area that the entry stands for; none for a mark. */
  offset = 0;
  numBlocks = 0;
  readonly slot: Slot;
  readonly index: number;
  readonly #owner: PlaceOwner;

  constructor(owner: PlaceOwner, slot: Slot, index: number) {
    this.#owner = owner;
    this.slot = slot;
    this.index = index;
  }

  markWritten(): void {
    if (this.state === PlaceState.Busy) this.state = PlaceState.Written;
  }

  onIoDone(part: BdevIo): void {
    this.#owner.onPlaceDone(this, part);
  }
}

/** The places of one member. They are used in turn, so from the next one on the oldest comes first. */
export interface Ring {
  readonly places: readonly JournalPlace[];
  /** Index of the place that is used next. */
  next: number;
  /** A mark on stable media says that entries up to this id are not valid any more; 0 for none. */
  overTo: number;
  isMarking: boolean;
}

export function newRing(owner: PlaceOwner, slot: Slot, count: number): Ring {
  const places = Array.from({ length: count }, (_, index) => new JournalPlace(owner, slot, index));
  return { places, next: 0, overTo: 0, isMarking: false };
}

/** Returns the next place, for use now. */
export function takePlace(ring: Ring): JournalPlace {
  const place = ring.places[ring.next];
  if (place === undefined) throw new Error('a journal has no places');
  ring.next = (ring.next + 1) % ring.places.length;
  return place;
}

/** Whether the ring's member is there and takes writes. */
export function hasMember({ places }: Ring): boolean {
  const slot = places[0]?.slot;
  return slot?.isRemoving === false && slot.descriptor !== null;
}

export function areFree({ places }: Ring, first: number, count: number): boolean {
  for (let i = 0; i < count; i++) if (places[(first + i) % places.length]?.state !== PlaceState.Free) return false;
  return true;
}

/** Where the next mark goes: to the next place, but for that of the last mark, which stays until there is another one. */
export function placeOfMark({ next, overTo, places }: Ring): number {
  return overTo > 0 && places[next]?.overTo === overTo ? (next + 1) % places.length : next;
}

/** Whether the next places of the ring hold nothing, or only what a mark says is not valid any more. */
export function isOverwritable({ next, overTo, places }: Ring, count: number): boolean {
  for (let i = 0; i < count; i++) if ((places[(next + i) % places.length]?.id ?? 0) > overTo) return false;
  return true;
}

/** The id of the last of the free places that come next. */
export function lastFreeId({ next, places }: Ring): number {
  let id = 0;
  for (let i = 0; i < places.length; i++) {
    const place = places[(next + i) % places.length];
    if (place?.state !== PlaceState.Free) break;
    id = Math.max(id, place.id);
  }
  return id;
}
