import type { Directory } from './directory.js';
import type { Owner } from './peek.js';

/** Says on which reactor something new is to be. */
export class Placement {
  readonly #directory: Directory;
  readonly #count: number;
  /** Arrays that are being made on each reactor. */
  readonly #coming: number[];
  /** Where devices of arrays that are not there yet are being opened, by the arrays' uuids. */
  readonly #expected = new Map<string, { readonly reactor: number; opens: number }>();

  constructor(directory: Directory, count: number) {
    this.#directory = directory;
    this.#count = count;
    this.#coming = new Array<number>(count).fill(0);
  }

  /** The reactor with the fewest arrays; of several the last one, as the first has the listeners, and the devices that belong to no array. */
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

  /** An array is being made there, as long as `work` runs. */
  async whileComing<T>(reactor: number, work: () => Promise<T>): Promise<T> {
    this.#coming[reactor] = (this.#coming[reactor] ?? 0) + 1;
    try {
      return await work();
    } finally {
      this.#coming[reactor] = (this.#coming[reactor] ?? 0) - 1;
    }
  }

  /**
   * Has a device opened on the reactor where it belongs: where its array is or is about to be; without a superblock, where an
   * array waits for it. Two arrays of one name come to the same reactor, which deals with that.
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

  /** A device of an array that is not there: the next one of the same array must come to the same place. */
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
