import type { BdevDescriptor } from '@raidkit/bdev';
import { RaidProcess } from './process.js';
import type { Gathering } from './process-queue.js';
import { begin, run } from './start-process.js';
import type { QueueHost, SyncContext } from './start-process.js';
import type { Slot } from '../members/slot.js';

/** A member that is to be filled. */
interface Entry {
  readonly slot: Slot;
  /** Its device when it came: another one in the slot is not this work's. */
  readonly descriptor: BdevDescriptor | null;
  /** Resolves when nothing of the preparations goes to the device any more. */
  prepared: Promise<void> | null;
}

/**
 * Starts to fill the slot's member, which is open and has its sizes, when the process that is running has ended. A member
 * that is known to lack only what was written while it was out (`isPartial`) is given only that. What waits for its turn, or is
 * being prepared, takes a further member of the same kind along: all of them are filled in one pass. {@link canTakeAlong} has
 * been asked in this turn, if another member is being filled.
 */
export function startRebuild(ctx: SyncContext, array: QueueHost, slot: Slot, isPartial: boolean): void {
  array.beginFilling(slot);
  const { processes } = array;
  if (processes.gathering?.takes(isPartial) === true) {
    processes.gathering.add(slot);
  } else {
    const rebuild = new Rebuild(ctx, array, isPartial);
    processes.gathering = rebuild;
    rebuild.add(slot);
    rebuild.ended = processes.enqueue(() => rebuild.work(), true);
  }
  ctx.resyncExclusion.wake();
}

/** Whether a member could be filled now: none is being filled, or one that could be filled together with it has not begun. */
export function canTakeAlong({ processes, slots }: QueueHost, isPartial: boolean): boolean {
  return processes.gathering?.takes(isPartial) === true || !slots.some(({ isRebuilding }) => isRebuilding);
}

/** Fills members in one pass. Each leaves, fails and becomes current by itself. */
class Rebuild implements Gathering {
  /** Resolves when its process has ended, and what that leads to is done. */
  ended: Promise<void> = Promise.resolve();
  readonly #ctx: SyncContext;
  readonly #array: QueueHost;
  readonly #isPartial: boolean;
  readonly #entries: Entry[] = [];
  #process: RaidProcess | null = null;
  /** Its first window has begun, or never will: what comes later needs a pass of its own. */
  #isClosed = false;

  constructor(ctx: SyncContext, array: QueueHost, isPartial: boolean) {
    this.#ctx = ctx;
    this.#array = array;
    this.#isPartial = isPartial;
  }

  /** What lacks little is not made to wait for what lacks everything. */
  takes(isPartial: boolean): boolean {
    return !this.#isClosed && this.#isPartial === isPartial && !this.#isOver();
  }

  add(slot: Slot): void {
    const entry: Entry = { slot, descriptor: slot.descriptor, prepared: null };
    this.#entries.push(entry);
    this.#process?.addTarget(slot);
    slot.filling = { isOnMap: this.#isPartial, leave: (reason) => this.#leave(entry, reason) };
  }

  async work(): Promise<void> {
    const ctx = this.#ctx;
    const array = this.#array;
    let failure: string | null = null;
    let process: RaidProcess | null = null;
    try {
      process = await begin(
        ctx,
        array,
        () => this.#isOver(),
        () => this.#make(),
      );
      if (process === null) return;
      await this.#prepare(process);
      await run(ctx, array, process, () => array.metadata.update());
      array.bitmap?.arm();
      // It may be the one that was too small, or absent when the others grew.
      array.growIfPossible();
      if (array.numInSync < array.numSlots) return;
      ctx.emit({ type: 'arrayOnline', array: array.name, degraded: false });
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      for (const { slot } of this.#entries.filter((entry) => this.#isThere(entry)))
        array.log.error({ ...array.logFields(slot), err: error }, 'the member could not be filled: it is let go');
    } finally {
      this.#isClosed = true;
      process?.close();
      if (process !== null) ctx.resyncExclusion.release(array);
      if (process === null || failure !== null) await Promise.all(this.#entries.map((entry) => this.#drop(entry)));
      ctx.onPlaceFree(array);
    }
  }

  /** A member that left before this began is gone, and another one may be in its place. */
  #isThere({ descriptor, slot }: Entry): boolean {
    return slot.descriptor === descriptor && slot.role === 'rebuilding';
  }

  #isOver(): boolean {
    return this.#array.state !== 'online' || !this.#entries.some((entry) => this.#isThere(entry));
  }

  #make(): RaidProcess {
    const targets = this.#entries.filter((entry) => this.#isThere(entry)).map(({ slot }) => slot);
    this.#process = new RaidProcess(this.#ctx, this.#array, 'rebuild', targets);
    return this.#process;
  }

  /** Once more for those that have come meanwhile. After that no more come. */
  async #prepare(process: RaidProcess): Promise<void> {
    const array = this.#array;
    const fresh = (): Entry[] => this.#entries.filter((entry) => entry.prepared === null && this.#isThere(entry));
    for (let entries = fresh(); entries.length > 0; entries = fresh()) {
      await Promise.all(
        entries.map((entry) => {
          const cleared = this.#clear(entry, process);
          entry.prepared = cleared.catch(() => undefined);
          return cleared;
        }),
      );
      // The map that the member keeps must be no better than the array's before it can count as current.
      if (this.#isPartial) await array.bitmap?.writeAll();
      else await array.bitmap?.missAll();
      for (const { filling } of entries.filter((entry) => this.#isThere(entry)).map(({ slot }) => slot))
        if (filling !== null) filling.isOnMap = true;
      // From here on the member carries the array's record, and can be told apart from an older copy of itself.
      await array.metadata.update();
    }
    this.#isClosed = true;
  }

  /** What it kept of an earlier life may look newer than what it is given now. */
  async #clear({ descriptor, slot }: Entry, process: RaidProcess): Promise<void> {
    if (descriptor === null) return;
    try {
      await this.#array.extension?.clear(descriptor, this.#array.bitmap?.states.length ?? 0);
    } catch (error) {
      process.failTarget(slot, error);
    }
  }

  /** What has not begun has nothing on the member, and what it waits for may take long. */
  async #leave(entry: Entry, reason: string): Promise<void> {
    if (this.#process === null) return;
    if (this.#process.dropTarget(entry.slot, new Error(reason))) await entry.prepared;
    else await this.ended;
  }

  /** The target of a rebuild that did not get to its end: its slot is empty again, unless another device is there by now. */
  async #drop({ descriptor, prepared, slot }: Entry): Promise<void> {
    await prepared;
    if (slot.descriptor !== descriptor || !slot.isRebuilding) return;
    if (slot.role === 'rebuilding') this.#array.endFilling(slot);
    await slot.whenFree();
    if (slot.descriptor === descriptor) slot.empty(slot.absence, this.#ctx.registry.runtime.now());
  }
}
