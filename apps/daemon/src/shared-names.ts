import { createHash } from 'node:crypto';
import { BdevError } from '@raidkit/bdev';

/** Names of which each can be had once. */
export interface NameTable {
  /** False if it is taken. */
  take(name: string): boolean;
  /** The taker gives it back. A name that is not taken is passed over. */
  release(name: string): void;
}

/** Names that one service has for itself. */
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

/** Names that a daemon can have; a device has two or three of them. */
const capacity = 1 << 16;
const wordsPerEntry = 4;
const lockIndex = 0;
const countIndex = 1;
const firstEntry = 4;

/** The memory that the threads' tables have in common. */
export function newSharedNames(entries = capacity): Int32Array {
  return new Int32Array(new SharedArrayBuffer((firstEntry + entries * wordsPerEntry) * 4));
}

/**
 * Names that several threads share: of two that take one at the same moment, one gets it. An open-addressed table of hashes of
 * 127 bits, with one lock that is held for as long as it takes to look at a few entries.
 */
export class SharedNames implements NameTable {
  readonly #words: Int32Array;
  readonly #entries: number;

  /** `words` comes from {@link newSharedNames}, in another thread perhaps. */
  constructor(words: Int32Array) {
    this.#words = words;
    this.#entries = (words.length - firstEntry) / wordsPerEntry;
  }

  /** Throws ENOSPC when the table is full: probing must end. */
  take(name: string): boolean {
    const hash = hashOf(name);
    return this.#locked(() => {
      const place = this.#find(hash);
      if (!this.#isFree(place)) return false;
      const count = this.#word(countIndex);
      if (count + 1 >= this.#entries) {
        throw new BdevError(
          'ERR_BDEV_INVALID',
          28,
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

  /** Where the hash is, or would be. */
  #find(hash: Int32Array): number {
    let place = this.#home(hash[0] ?? 0);
    while (!this.#isFree(place) && !this.#holds(place, hash)) place = (place + 1) % this.#entries;
    return place;
  }

  /** Empties a place, and moves up what stands behind it because it was taken. */
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

/** Its first word is odd: 0 stands for an empty place. */
function hashOf(name: string): Int32Array {
  const digest = createHash('sha256').update(name).digest();
  const hash = new Int32Array(wordsPerEntry);
  for (let index = 0; index < wordsPerEntry; index++) hash[index] = digest.readInt32LE(index * 4);
  hash[0] = (hash[0] ?? 0) | 1;
  return hash;
}
