import type { BitmapHost } from './host.js';
import { Generations } from '../format/newest-copy.js';
import { onEveryMember } from '../members/member-io.js';
import { RegionState } from './region-state.js';
import type { RegionStates } from './region-state.js';
import type { ExtensionStore, RegionPage } from '../format/store.js';
import type { Slot } from '../members/slot.js';

/** The pages on members that record the states of an array's regions. */
export class BitmapPages {
  /**
   * States that pages get instead of those in memory, while a round of setting or clearing bits is in progress, because pages
   * are also written for other reasons. A region that pages record as unwritten becomes so in memory only when they have been
   * written.
   */
  readonly said = new Map<number, RegionState>();
  /** Dirty regions that some member has recorded in another state, because a round of clearing bits was interrupted. */
  readonly unrecorded = new Set<number>();
  readonly #array: BitmapHost;
  readonly #store: ExtensionStore;
  readonly #regions: RegionStates;
  readonly #generations: Generations[] = [];
  /**
   * For each slot, the pages that its member could not be given, and the generations that it has instead. A member that the
   * array cannot do without stays, and the header must not record the missing writes for it: at the next start it would be
   * taken for an old image.
   */
  readonly #missed = new WeakMap<Slot, Map<number, number>>();
  /** Page writes run one after another, so that an older page cannot overwrite a newer one. */
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

  /**
   * Adopts a page that a member has recorded. Dirty regions are inconsistent, because their writes may have reached only some
   * members.
   */
  adopt(page: RegionPage): void {
    const first = page.index * this.#store.regionsPerPage;
    this.#generations[page.index]?.goOnFrom(page.generation);
    const states = page.states.subarray(0, Math.min(page.states.length, this.#regions.states.length - first));
    let dirty = 0;
    // Adjacent dirty regions are marked as one range, because a large map has millions of them.
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

  /** Writes the pages of these regions to every member, with the states at the time of the write. */
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
      let pagesTaken = taken;
      for (const [index, generation] of missed) pagesTaken -= this.#generationsOf(index).last - generation;
      slot.notePagesTaken(pagesTaken);
    });
    for (const { index, generation } of pages.values()) this.#generationsOf(index).written(generation);
    const written = (region: number): number | undefined => pages.get(this.#pageOf(region))?.states[region % regionsPerPage];
    // Only now, because a rebuild skips unwritten regions, and a crash must not bring back a page with another state. These
    // pages may have been made before the new states were set.
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
