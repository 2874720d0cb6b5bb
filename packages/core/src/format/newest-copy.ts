/**
 * The generation from which records of one kind are counted on, when the newest has generation `most`: the next one goes to the
 * other place than one of generation `kept` has. Of two places, generations go to one in turn.
 */
export function goOnFrom(most: number, kept: number): number {
  return (most + 1 - kept) % 2 === 0 ? most + 1 : most;
}

/**
 * Generations of what is on record of one thing, in two places. One that could not be written may be torn on all members, and so may be
 * one that a crash cuts short: until one has been written to all, each goes to the same place, and the last one that all have stays.
 */
export class Generations {
  #last = 0;
  /** The last one that is on all members, as far as is known; null: that has not been asked, and is the last one at the next write. */
  #kept: number | null = null;

  get last(): number {
    return this.#last;
  }

  /** The last one that all members have, or that is taken for it. */
  get kept(): number {
    return this.#kept ?? this.#last;
  }

  /** Members have this one, from which the next is counted on; nothing else is known of them. */
  goOnFrom(generation: number): void {
    this.#last = generation;
    this.#kept = null;
  }

  /** This generation has been written: the next one is a later one. */
  note(generation: number): void {
    this.#last = Math.max(this.#last, generation);
  }

  /** The next one goes to the other place than this one has. */
  keep(generation: number): void {
    this.#kept = generation;
  }

  /** The generation of what is about to be written. */
  next(): number {
    this.#kept = this.kept;
    this.#last = goOnFrom(this.#last, this.#kept) + 1;
    return this.#last;
  }

  /** All members have it. */
  written(generation: number): void {
    this.#kept = generation;
  }
}

/** The newest of what members have on record of one thing. Each has two places for it. */
export class NewestCopy<T extends { readonly generation: number }> {
  #newest: T | null = null;
  #least = Infinity;

  /** The newest that one more member has; null if it has none. */
  add(copy: T | null): void {
    if (copy === null) return;
    if (this.#newest === null || copy.generation > this.#newest.generation) this.#newest = copy;
    this.#least = Math.min(this.#least, copy.generation);
  }

  /**
   * Generation of the newest that all members have had. A crash may have kept a newer one from some of them: their place of this
   * one is not written over next, or a torn write would leave them with one that is older than what all had.
   */
  get least(): number {
    return this.#newest === null ? 0 : this.#least;
  }

  /** The newest, as it was found; null if no member has any. */
  get newest(): T | null {
    return this.#newest;
  }

  /** The newest, with the generation from which the next one is counted on; null if no member has any. */
  get toGoOnFrom(): T | null {
    if (this.#newest === null) return null;
    return { ...this.#newest, generation: goOnFrom(this.#newest.generation, this.#least) };
  }
}
