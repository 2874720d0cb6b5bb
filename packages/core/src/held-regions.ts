/** Regions whose redundancy is known to be wrong somewhere: their bits stay until a resync that began later has been there. */
export class HeldRegions {
  /** How often regions have been held. */
  holds = 0;
  /** Each with the count of holds at which it was held last. */
  readonly #held = new Map<number, number>();

  get size(): number {
    return this.#held.size;
  }

  has(region: number): boolean {
    return this.#held.has(region);
  }

  hold(first: number, last: number): void {
    this.holds++;
    for (let region = first; region <= last; region++) this.#held.set(region, this.holds);
  }

  /** Whether {@link release} would let one go. */
  hasReleasable(end: number, holds: number): boolean {
    for (const [region, hold] of this.#held) if (region < end && hold <= holds) return true;
    return false;
  }

  /** Lets those below `end` go that were held when there had been so many {@link holds}. */
  release(end: number, holds: number): void {
    for (const [region, hold] of this.#held) if (region < end && hold <= holds) this.#held.delete(region);
  }
}
