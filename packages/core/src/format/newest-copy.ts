/**
 * Records have two places on a member, used in turn (generation mod 2). Given the newest generation `most`, returns the
 * generation to count on from so that the next record does not overwrite the place of generation `kept`.
 */
export function goOnFrom(most: number, kept: number): number {
  return (most + 1 - kept) % 2 === 0 ? most + 1 : most;
}

/**
 * Generations of one kind of record, which has two places on each member. A write that fails or is cut short by a crash may
 * leave a torn record on all members. So every further write goes to the same place until one has reached all members; the
 * other place keeps the last record that they all have.
 */
export class Generations {
  #last = 0;
  /** Generation that all members are known to have. Null if unknown; then it is {@link last} at the time of the next write. */
  #kept: number | null = null;

  get last(): number {
    return this.#last;
  }

  /** The generation that all members have, as far as is known. */
  get kept(): number {
    return this.#kept ?? this.#last;
  }

  /** Members have this generation and the next one follows it. Nothing else is known of their records. */
  goOnFrom(generation: number): void {
    this.#last = generation;
    this.#kept = null;
  }

  /** This generation has been used, so the next one must be higher. */
  note(generation: number): void {
    this.#last = Math.max(this.#last, generation);
  }

  /** The next record must not overwrite the place of this generation. */
  keep(generation: number): void {
    this.#kept = generation;
  }

  /** Returns the generation of the record that is about to be written. */
  next(): number {
    this.#kept = this.kept;
    this.#last = goOnFrom(this.#last, this.#kept) + 1;
    return this.#last;
  }

  /** The record of this generation is on all members. */
  written(generation: number): void {
    this.#kept = generation;
  }
}

/** Finds the newest record of one kind among the members' records. Each member has two places for it. */
export class NewestCopy<T extends { readonly generation: number }> {
  #newest: T | null = null;
  #least = Infinity;

  /** Adds the newest record of one more member; null if the member has none. */
  add(copy: T | null): void {
    if (copy === null) return;
    if (this.#newest === null || copy.generation > this.#newest.generation) this.#newest = copy;
    this.#least = Math.min(this.#least, copy.generation);
  }

  /**
   * Newest generation that all members have had. After a crash some of them may lack a newer one. Their record of this
   * generation must not be overwritten next: a torn write would leave them with an older one.
   */
  get least(): number {
    return this.#newest === null ? 0 : this.#least;
  }

  /** The newest record as it was found; null if no member has any. */
  get newest(): T | null {
    return this.#newest;
  }

  /** The newest record, with the generation to count on from; null if no member has any. */
  get toGoOnFrom(): T | null {
    if (this.#newest === null) return null;
    return { ...this.#newest, generation: goOnFrom(this.#newest.generation, this.#least) };
  }
}
