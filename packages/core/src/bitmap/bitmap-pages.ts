import type { BitmapHost } from './host.js';
import { Generations } from '../format/newest-copy.js';
import { onEveryMember } from '../members/member-io.js';
import { RegionState } from './region-state.js';
import type { RegionStates } from './region-state.js';
import type { ExtensionStore, RegionPage } from '../format/store.js';
import type { Slot } from '../members/slot.js';

/** The pages on the members in which an array's regions are recorded. */
export class BitmapPages {
  /**
   * What pages say of regions in place of what memory says, while a round of setting or clearing bits is under way: others
   * write pages too. A region of which they say that it is unwritten is so in memory once they have said it.
   */
  readonly said = new Map<number, RegionState>();
  /** Dirty regions that some member has on record as something else: a round of clearing was cut short. */
  readonly unrecorded = new Set<number>();
  readonly #array: BitmapHost;
  readonly #store: ExtensionStore;
  readonly #regions: RegionStates;
  readonly #generations: Generations[] = [];
  /**
   * Pages that a slot's member has not taken, and the generations that it has. One that the array cannot do without stays, and
   * must not be on record as having them: at the next start it would be taken for an old image.
   */
  readonly #missed = new WeakMap<Slot, Map<number, number>>();
  /** One write of pages follows another: an older one must not land on top of a newer one. */
  #writes: Promise<void> = Promise.resolve();

  constructor(array: BitmapHost, store: ExtensionStore, regions: RegionStates) {
    this.#array = array;
    this.#store = store;
    this.#regions = regions;
    this.growTo(regions.states.length);
  }

  get count(): number {
    return this.#generations.length;
  }

  growTo(numRegions: number): void {
    const count = Math.ceil(numRegions / this.#store.regionsPerPage);
    while (this.#generations.length < count) this.#generations.push(new Generations());
  }

  /** Takes over what a member has recorded. Dirty regions are in doubt: which of their writes reached which member is not known. */
  adopt(page: RegionPage): void {
    const first = page.index * this.#store.regionsPerPage;
    this.#generations[page.index]?.goOnFrom(page.generation);
    const states = page.states.subarray(0, Math.min(page.states.length, this.#regions.states.length - first));
    let dirty = 0;
    // Runs of dirty regions as one: a large map has millions of them.
    for (let i = 0; i <= states.length; i++) {
      const state = states[i];
      if (state !== undefined) this.#regions.set(first + i, state);
      if (state === RegionState.Dirty) {
        dirty++;
      } else if (dirty > 0) {
        const { regionBlocks } = this.#regions;
        this.#array.consistency.load((first + i - dirty) * regionBlocks, dirty * regionBlocks);
        this.#array.consistency.markUnstable((first + i - dirty) * regionBlocks, dirty * regionBlocks);
        dirty = 0;
      }
    }
  }

  continueFrom(index: number, generation: number): void {
    this.#generations[index]?.goOnFrom(generation);
  }

  writeAll(): Promise<void> {
    return this.#write(Array.from({ length: this.count }, (_, index) => index));
  }

  /** Writes the pages of these regions to every member, as they are when it is their turn. */
  writeOf(regions: Iterable<number>): Promise<void> {
    const pages = new Set<number>();
    for (const region of regions) pages.add(this.#pageOf(region));
    return this.#write([...pages]);
  }

  #write(indexes: readonly number[]): Promise<void> {
    const written = this.#writes.then(() => this.#writeNow(indexes));
    this.#writes = written.catch(() => undefined);
    return written;
  }

  async #writeNow(indexes: readonly number[]): Promise<void> {
    const { regionsPerPage } = this.#store;
    const pages = new Map<number, RegionPage>();
    for (const index of indexes) {
      const first = index * regionsPerPage;
      const states = this.#regions.states.slice(first, first + regionsPerPage);
      const generation = this.#generationsOf(index).next();
      pages.set(index, { index, generation, states });
    }
    for (const [region, state] of this.said) {
      const states = pages.get(this.#pageOf(region))?.states;
      if (states !== undefined) states[region % regionsPerPage] = state;
    }
    const taken = this.#generations.reduce((sum, { last }) => sum + last, 0);
    await onEveryMember(this.#array, async (client, slot) => {
      const missed = this.#missed.get(slot) ?? new Map<number, number>();
      this.#missed.set(slot, missed);
      for (const index of pages.keys()) if (!missed.has(index)) missed.set(index, this.#generationsOf(index).kept);
      await this.#store.writePages(client.descriptor, this.#array, [...pages.values()]);
      for (const index of pages.keys()) missed.delete(index);
      slot.pagesTaken = taken;
      for (const [index, generation] of missed) slot.pagesTaken -= this.#generationsOf(index).last - generation;
    });
    for (const { index, generation } of pages.values()) this.#generationsOf(index).written(generation);
    const written = (region: number): number | undefined => pages.get(this.#pageOf(region))?.states[region % regionsPerPage];
    // Not before: a rebuild passes over what is unwritten, and a crash must not bring back a page that says otherwise. These
    // pages may have been made when it was not to be said yet.
    for (const [region, state] of this.said) {
      if (state === RegionState.Unwritten && written(region) === state) this.#regions.set(region, state);
    }
    for (const region of this.unrecorded) if (written(region) === RegionState.Dirty) this.unrecorded.delete(region);
  }

  #pageOf(region: number): number {
    return Math.floor(region / this.#store.regionsPerPage);
  }

  #generationsOf(page: number): Generations {
    const generations = this.#generations[page];
    if (generations === undefined) throw new RangeError(`the write-intent bitmap has no page ${page}`);
    return generations;
  }
}
