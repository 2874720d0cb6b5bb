/**
 * The generation from which records of one kind are counted on, when the newest has generation `most`: the next one goes to the
 * other place than one of generation `kept` has. Of two places, generations go to one in turn.
 */
export function goOnFrom(most: number, kept: number): number {
  return (most + 1 - kept) % 2 === 0 ? most + 1 : most;
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
