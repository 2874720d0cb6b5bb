import { createHash } from 'node:crypto';
import { BdevError, Status } from '@raidkit/bdev';

/** A table of names, each of which can be taken once. */
export interface NameTable {
  /** Takes a name; returns false if it is taken already. */
  take(name: string): boolean;
  /** Releases a name; no effect if it is not taken. */
  release(name: string): void;
}

/** Names of a single service. */
export class OwnNames implements NameTable {
  readonly #names = new Set<string>();

  take(name: string): boolean {
    if (this.#names.has(name)) return false;
    this.#names.add(name);
    return true;
  }

  release(name: string): void {
    this.#names.delete(name);
  }
}

/** Number of names that a daemon can have; a device has two or three. */
const capacity = 1 << 16;
const wordsPerEntry = 4;
const lockIndex = 0;
const countIndex = 1;
const firstEntry = 4;

/** Makes the memory of a table that threads share. */
export function newSharedNames(entries = capacity): Int32Array {
  return new Int32Array(new SharedArrayBuffer((firstEntry + entries * wordsPerEntry) * 4));
}

/**
 * A table of names that threads share: of two that take a name at the same moment, one gets it. It is an open-addressed hash
 * table of 127-bit hashes, with one lock that is held while a few entries are compared.
 */
export class SharedNames implements NameTable {
  readonly #words: Int32Array;
  readonly #entries: number;

  /** `words` was made by {@link newSharedNames}, perhaps in another thread. */
  constructor(words: Int32Array) {
    this.#words = words;
    this.#entries = (words.length - firstEntry) / wordsPerEntry;
  }

  /** Takes a name. Throws ENOSPC when the table is full, since probing must end at a free entry. */
  take(name: string): boolean {
    const hash = hashOf(name);
    return this.#locked(() => {
      const place = this.#find(hash);
      if (!this.#isFree(place)) return false;
      const count = this.#word(countIndex);
      if (count + 1 >= this.#entries) {
        throw new BdevError(
          'ERR_BDEV_INVALID',
          Status.NoSpace,
          `a daemon with several reactors has ${this.#entries - 1} names for devices, arrays and exports, and all are used`,
        );
      }
      this.#words.set(hash, at(place));
      this.#words[countIndex] = count + 1;
      return true;
    });
  }

  release(name: string): void {
    const hash = hashOf(name);
    this.#locked(() => {
      const place = this.#find(hash);
      if (this.#isFree(place)) return;
      this.#close(place);
      this.#words[countIndex] = this.#word(countIndex) - 1;
    });
  }

  /** Index of the entry that has the hash, or of the free one where it belongs. */
  #find(hash: Int32Array): number {
    let place = this.#home(hash[0] ?? 0);
    while (!this.#isFree(place) && !this.#holds(place, hash)) place = (place + 1) % this.#entries;
    return place;
  }

  /** Empties an entry, and moves up entries that were displaced by it. */
  #close(place: number): void {
    let gap = place;
    for (let next = (gap + 1) % this.#entries; !this.#isFree(next); next = (next + 1) % this.#entries) {
      const distance = (next - this.#home(this.#word(at(next))) + this.#entries) % this.#entries;
      if (distance < (next - gap + this.#entries) % this.#entries) continue;
      this.#words.copyWithin(at(gap), at(next), at(next) + wordsPerEntry);
      gap = next;
    }
    this.#words.fill(0, at(gap), at(gap) + wordsPerEntry);
  }

  #home(firstWord: number): number {
    return (firstWord >>> 1) % this.#entries;
  }

  #isFree(place: number): boolean {
    return this.#word(at(place)) === 0;
  }

  #holds(place: number, hash: Int32Array): boolean {
    return hash.every((word, index) => this.#word(at(place) + index) === word);
  }

  #word(index: number): number {
    return this.#words[index] ?? 0;
  }

  #locked<T>(work: () => T): T {
    while (Atomics.compareExchange(this.#words, lockIndex, 0, 1) !== 0) Atomics.wait(this.#words, lockIndex, 1, 1);
    try {
      return work();
    } finally {
      Atomics.store(this.#words, lockIndex, 0);
      Atomics.notify(this.#words, lockIndex, 1);
    }
  }
}

function at(place: number): number {
  return firstEntry + place * wordsPerEntry;
}

/** Hashes a name. The first word is odd, because 0 marks a free entry. */
function hashOf(name: string): Int32Array {
  const digest = createHash('sha256').update(name).digest();
  const hash = new Int32Array(wordsPerEntry);
  for (let index = 0; index < wordsPerEntry; index++) hash[index] = digest.readInt32LE(index * 4);
  hash[0] = (hash[0] ?? 0) | 1;
  return hash;
}
