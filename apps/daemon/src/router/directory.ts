import type { Change, SharedExport } from '../shared-state.js';

/** Kinds of named objects in the daemon. */
export type Kind = 'bdev' | 'array' | 'export';

interface Entry {
  reactor: number;
  name: string;
  names: readonly string[];
  /** What other reactors are told of an export; null for other kinds. */
  shared: SharedExport | null;
  /** Increases with every entry: lists that are merged from several reactors are sorted by it. */
  order: number;
}

/**
 * Records which reactor has which device, array and export, as the reactors report it. It knows names, and nothing of the
 * objects behind them.
 */
export class Directory {
  readonly #entries: Record<Kind, Map<string, Entry>> = { bdev: new Map(), array: new Map(), export: new Map() };
  /** Entries by name, alias and uuid. */
  readonly #byName: Record<Kind, Map<string, Entry>> = { bdev: new Map(), array: new Map(), export: new Map() };
  readonly #awaited: (readonly string[] | undefined)[] = [];
  /** Positions of devices that are moving, so that they keep their places in lists. */
  readonly #kept = new Map<string, number>();
  readonly #waiters = new Set<() => void>();
  #nextOrder = 0;

  /** Records a change that a reactor has reported. */
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

  /** Reactor of the object with this name, alias or uuid; undefined if there is none. */
  find(kind: Kind, name: string): number | undefined {
    return this.#byName[kind].get(name)?.reactor;
  }

  /** Name, aliases and uuid of the object that is found by one of them; just the given name if none is. */
  namesOf(kind: Kind, name: string): readonly string[] {
    return this.#byName[kind].get(name)?.names ?? [name];
  }

  /** Reactor of an array, by name or uuid. An array without superblocks has the uuid of its volume. */
  findArray(name: string): number | undefined {
    return this.find('array', name) ?? this.find('bdev', name);
  }

  /** Reactor of an array that waits for a device with one of these names or uuids. */
  findAwaiting(names: readonly string[]): number | undefined {
    const reactor = this.#awaited.findIndex((awaited) => awaited?.some((name) => names.includes(name)));
    return reactor < 0 ? undefined : reactor;
  }

  count(kind: Kind, reactor: number): number {
    let count = 0;
    for (const entry of this.#entries[kind].values()) if (entry.reactor === reactor) count++;
    return count;
  }

  /** Sorts a merged list by the order in which the objects came to be. Objects that are already gone come last. */
  sort<T>(kind: Kind, list: readonly T[], nameOf: (item: T) => string): T[] {
    const orderOf = (item: T): number => this.#entries[kind].get(nameOf(item))?.order ?? Infinity;
    return list
      .map((item) => ({ item, order: orderOf(item) }))
      .sort((a, b) => (a.order === b.order ? 0 : a.order - b.order))
      .map(({ item }) => item);
  }

  /** Exports of all other reactors. */
  exportsBeside(reactor: number): SharedExport[] {
    return [...this.#entries.export.values()]
      .filter((entry) => entry.reactor !== reactor)
      .flatMap(({ shared }) => shared ?? []);
  }

  /** Resolves when a device of this name exists, or the time is over. */
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

  /** Keeps the device's place in lists while `work` moves it. */
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
    // The object of this name on another reactor is gone, and its message has not arrived yet.
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
