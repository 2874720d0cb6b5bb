import type { Directory } from './directory.js';
import type { Owner } from './peek.js';

/** Chooses the reactor for new objects. */
export class Placement {
  readonly #directory: Directory;
  readonly #count: number;
  /** Number of arrays that are being made on each reactor. */
  readonly #coming: number[];
  /** Reactors on which devices of arrays that do not exist yet are being opened, by array uuid. */
  readonly #expected = new Map<string, { readonly reactor: number; opens: number }>();

  constructor(directory: Directory, count: number) {
    this.#directory = directory;
    this.#count = count;
    this.#coming = new Array<number>(count).fill(0);
  }

  /**
   * Returns the reactor with the fewest arrays; of several the last one, because the first has the listeners and the devices
   * without an array.
   */
  leastUsed(): number {
    let best = 0;
    let bestArrays = Infinity;
    for (let reactor = 0; reactor < this.#count; reactor++) {
      const expected = [...this.#expected.values()].filter((one) => one.reactor === reactor).length;
      const arrays = this.#directory.count('array', reactor) + (this.#coming[reactor] ?? 0) + expected;
      if (arrays > bestArrays) continue;
      best = reactor;
      bestArrays = arrays;
    }
    return best;
  }

  /** Counts an array for this reactor while `work` makes it. */
  async whileComing<T>(reactor: number, work: () => Promise<T>): Promise<T> {
    this.#coming[reactor] = (this.#coming[reactor] ?? 0) + 1;
    try {
      return await work();
    } finally {
      this.#coming[reactor] = (this.#coming[reactor] ?? 0) - 1;
    }
  }

  /**
   * Opens a device on the right reactor: that of its array, or the one on which the array is about to be; without a superblock,
   * that of an array that waits for the device. Two arrays of one name come to the same reactor, which handles the conflict.
   */
  openingDevice<T>(
    owner: Pick<Owner, 'uuid' | 'name'> | null,
    names: readonly string[],
    open: (reactor: number) => Promise<T>,
  ): Promise<T> {
    if (owner === null) return open(this.#directory.findAwaiting(names) ?? 0);
    const { uuid, name } = owner;
    const there = this.#directory.findArray(uuid) ?? this.#directory.findArray(name);
    return there === undefined ? this.#openFirst(uuid, open) : open(there);
  }

  /** Opens a device of an array that does not exist yet: further devices of it must go to the same reactor. */
  async #openFirst<T>(uuid: string, open: (reactor: number) => Promise<T>): Promise<T> {
    const expected = this.#expected.get(uuid) ?? { reactor: this.leastUsed(), opens: 0 };
    this.#expected.set(uuid, expected);
    expected.opens++;
    try {
      return await open(expected.reactor);
    } finally {
      if (--expected.opens === 0) this.#expected.delete(uuid);
    }
  }
}
