/** Counts by name the states that simulations have reached: a generator that never reaches a state tests nothing there. */
export class Coverage {
  readonly #counts = new Map<string, number>();

  mark(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  count(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Returns all counts, sorted by name. */
  entries(): [string, number][] {
    return [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Adds another's counts to this one's. */
  add(other: Coverage): void {
    for (const [name, count] of other.entries()) this.#counts.set(name, this.count(name) + count);
  }
}
