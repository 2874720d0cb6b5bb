import type { Consistency } from '../bitmap/consistency.js';
import { Generations } from '../format/newest-copy.js';
import type { MembersHost } from '../members/host.js';
import { onEveryMember } from '../members/member-io.js';
import type { DoubtList, ExtensionStore, MapLife } from '../format/store.js';

/** An array that records where its redundancy is inconsistent. */
export interface DoubtHost extends MembersHost, MapLife {
  readonly consistency: Consistency;
}

/**
 * The list of inconsistent ranges on the members of an array with a journal. It is on stable media before an entry is
 * overwritten that may be the only record of data in such a range. A range that was repaired leaves the list before the next
 * flush is acknowledged, so that what was flushed can be read after the next start.
 */
export class DoubtRecord {
  readonly #array: DoubtHost;
  readonly #store: ExtensionStore;
  readonly #generations = new Generations();
  /** State that the newest list on the members corresponds to; see {@link isCurrent}. */
  #written = { additions: -1, changes: -1, removals: -1, membership: -1 };
  #saves: Promise<void> = Promise.resolve();

  constructor(array: DoubtHost, store: ExtensionStore) {
    this.#array = array;
    this.#store = store;
  }

  /** Continues from the list that was found on the members. */
  adopt(list: DoubtList | null): void {
    this.#generations.goOnFrom(list?.generation ?? 0);
  }

  /** The list contains every inconsistent range, and possibly more. */
  get covers(): boolean {
    return this.#written.additions === this.#array.consistency.additions && this.#written.membership === this.#array.membership;
  }

  /** The list contains exactly the inconsistent ranges. */
  get isCurrent(): boolean {
    return this.covers && this.#written.changes === this.#array.consistency.changes;
  }

  /** The list contains no range that was repaired since. */
  get hasNoMore(): boolean {
    return this.#written.removals === this.#array.consistency.removals;
  }

  /** Resolves when the list as of now or later is on stable media of all members. */
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
