import type { Consistency } from '../bitmap/consistency.js';
import { Generations } from '../format/newest-copy.js';
import type { MembersHost } from '../members/host.js';
import { onEveryMember } from '../members/member-io.js';
import type { DoubtList, ExtensionStore, MapLife } from '../format/store.js';

/** An array that keeps a list of where its redundancy is in doubt. */
export interface DoubtHost extends MembersHost, MapLife {
  readonly consistency: Consistency;
}

/**
 * The list, on the members, of where redundancy is in doubt beside a journal: the journal stands for all the rest. It is on
 * stable media before an entry that may be all that is left of a range in doubt is overwritten. A range that has been made
 * good leaves it before the next flush is acknowledged, so that what was flushed can be read after the next start.
 */
export class DoubtRecord {
  readonly #array: DoubtHost;
  readonly #store: ExtensionStore;
  readonly #generations = new Generations();
  /** What the newest list on the members covers; see {@link isInSync}. */
  #written = { additions: -1, changes: -1, removals: -1, membership: -1 };
  #saves: Promise<void> = Promise.resolve();

  constructor(array: DoubtHost, store: ExtensionStore) {
    this.#array = array;
    this.#store = store;
  }

  /** Goes on from the list that was found on the members. */
  adopt(list: DoubtList | null): void {
    this.#generations.goOnFrom(list?.generation ?? 0);
  }

  /** Everything that is in doubt is on the list; perhaps more. */
  get covers(): boolean {
    return this.#written.additions === this.#array.consistency.additions && this.#written.membership === this.#array.membership;
  }

  /** The list says exactly what is in doubt. */
  get isCurrent(): boolean {
    return this.covers && this.#written.changes === this.#array.consistency.changes;
  }

  /** The list says of nothing that it is in doubt which has been made good since. */
  get hasNoMore(): boolean {
    return this.#written.removals === this.#array.consistency.removals;
  }

  /** Resolves when the list is on stable media of all members as it is now, or later. */
  save(): Promise<void> {
    const saved = this.#saves.then(async () => {
      while (!this.isCurrent) await this.#write();
    });
    this.#saves = saved.catch(() => undefined);
    return saved;
  }

  async #write(): Promise<void> {
    const { consistency, membership } = this.#array;
    const { additions, changes, removals } = consistency;
    const generation = this.#generations.next();
    const list = { generation, ranges: consistency.list(this.#store.mostDoubtRanges) };
    await onEveryMember(this.#array, (client) => this.#store.writeDoubt(client.descriptor, this.#array, list));
    this.#generations.written(generation);
    this.#written = { additions, changes, removals, membership };
  }
}
