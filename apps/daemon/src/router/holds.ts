/** Names that a call has locked; other calls with them wait. */
export class Holds {
  readonly #held = new Map<string, Promise<void>>();

  /** Runs `work` once no other call holds any of the names, and holds them until it ends. */
  async holding<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
    for (let other = this.#inTheWay(names); other !== undefined; other = this.#inTheWay(names)) await other;
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    for (const name of names) this.#held.set(name, released);
    try {
      return await work();
    } finally {
      for (const name of names) this.#held.delete(name);
      release();
    }
  }

  /** Resolves when no call holds the name. */
  async free(name: string): Promise<void> {
    for (let other = this.#held.get(name); other !== undefined; other = this.#held.get(name)) await other;
  }

  #inTheWay(names: readonly string[]): Promise<void> | undefined {
    for (const name of names) {
      const other = this.#held.get(name);
      if (other !== undefined) return other;
    }
    return undefined;
  }
}
