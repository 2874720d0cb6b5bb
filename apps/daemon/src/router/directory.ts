import type { Change, SharedExport } from '../shared-state.js';

/** What has names in the daemon. */
export type Kind = 'bdev' | 'array' | 'export';

interface Entry {
  reactor: number;
  name: string;
  names: readonly string[];
  /** What is shared of an export. */
  shared: SharedExport | null;
  /** Grows with every entry: lists of several reactors are put in this order. */
  order: number;
}

/** Which reactor has which device, array and export, as the reactors have told. It knows names, and nothing of what is behind them. */
export class Directory {
  readonly #entries: Record<Kind, Map<string, Entry>> = { bdev: new Map(), array: new Map(), export: new Map() };
  /** By alias and uuid too. */
  readonly #byName: Record<Kind, Map<string, Entry>> = { bdev: new Map(), array: new Map(), export: new Map() };
  readonly #awaited: (readonly string[] | undefined)[] = [];
  /** Orders of devices that are moving: they keep their places in lists. */
  readonly #kept = new Map<string, number>();
  readonly #waiters = new Set<() => void>();
  #nextOrder = 0;

  /** A reactor has told of this. */
  change(reactor: number, change: Change): void {
    if (change.of === 'awaited') {
      this.#awaited[reactor] = change.names;
      return;
    }
    const { of: kind, name } = change;
    if (change.is === 'gone') this.#remove(reactor, kind, name);
    else if (change.of === 'export') this.#addExport(reactor, change);
    else this.#add(kind, { reactor, name, names: change.names, shared: null });
    for (const waiter of [...this.#waiters]) waiter();
  }

  #addExport(reactor: number, { name, description, clients }: SharedExport): void {
    this.#add('export', { reactor, name, names: [name], shared: { name, description, clients } });
  }

  /** The reactor that has something of this name, alias or uuid; undefined if none has. */
  find(kind: Kind, name: string): number | undefined {
    return this.#byName[kind].get(name)?.reactor;
  }

  /** The name, aliases and uuid of what is found by one of them; that alone if nothing is. */
  namesOf(kind: Kind, name: string): readonly string[] {
    return this.#byName[kind].get(name)?.names ?? [name];
  }

  /** The reactor of an array, by name or uuid. One without superblocks has the uuid of its volume. */
  findArray(name: string): number | undefined {
    return this.find('array', name) ?? this.find('bdev', name);
  }

  /** The reactor with an array that waits for a device of one of these names or uuids. */
  findAwaiting(names: readonly string[]): number | undefined {
    const reactor = this.#awaited.findIndex((awaited) => awaited?.some((name) => names.includes(name)));
    return reactor < 0 ? undefined : reactor;
  }

  count(kind: Kind, reactor: number): number {
    let count = 0;
    for (const entry of this.#entries[kind].values()) if (entry.reactor === reactor) count++;
    return count;
  }

  /** Puts what reactors have listed into the order in which it came to be. What is gone already comes last. */
  sort<T>(kind: Kind, list: readonly T[], nameOf: (item: T) => string): T[] {
    const orderOf = (item: T): number => this.#entries[kind].get(nameOf(item))?.order ?? Infinity;
    return list
      .map((item) => ({ item, order: orderOf(item) }))
      .sort((a, b) => (a.order === b.order ? 0 : a.order - b.order))
      .map(({ item }) => item);
  }

  /** Exports of all reactors but this one. */
  exportsBeside(reactor: number): SharedExport[] {
    return [...this.#entries.export.values()]
      .filter((entry) => entry.reactor !== reactor)
      .flatMap(({ shared }) => shared ?? []);
  }

  /** Resolves when there is a device of this name, or the time is over. */
  waitForBdev(name: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        resolve();
      };
      const look = (): void => {
        if (this.find('bdev', name) !== undefined) end();
      };
      const timer = setTimeout(end, timeoutMs);
      this.#waiters.add(look);
      look();
    });
  }

  /** While `work` moves the device, its place in lists is kept. */
  async keepingPlace<T>(name: string, work: () => Promise<T>): Promise<T> {
    const entry = this.#byName.bdev.get(name);
    if (entry === undefined) return work();
    this.#kept.set(entry.name, entry.order);
    try {
      return await work();
    } finally {
      this.#kept.delete(entry.name);
    }
  }

  #add(kind: Kind, what: Omit<Entry, 'order'>): void {
    // What another reactor had of this name is gone, and the word of it is still on its way.
    const before = this.#entries[kind].get(what.name);
    if (before !== undefined) this.#forget(kind, before);
    const order = (kind === 'bdev' ? this.#kept.get(what.name) : undefined) ?? this.#nextOrder++;
    const entry: Entry = { ...what, order };
    this.#entries[kind].set(what.name, entry);
    for (const name of what.names) this.#byName[kind].set(name, entry);
  }

  #remove(reactor: number, kind: Kind, name: string): void {
    const entry = this.#entries[kind].get(name);
    if (entry?.reactor === reactor) this.#forget(kind, entry);
  }

  #forget(kind: Kind, entry: Entry): void {
    this.#entries[kind].delete(entry.name);
    for (const one of entry.names) if (this.#byName[kind].get(one) === entry) this.#byName[kind].delete(one);
  }
}
