import type { BdevDescriptor } from '@raidkit/bdev';
import { RaidProcess } from './process.js';
import type { Gathering } from './process-queue.js';
import { begin, run } from './start-process.js';
import type { QueueHost, SyncContext } from './start-process.js';
import type { Slot } from '../members/slot.js';

/** A member to be filled. */
interface Entry {
  readonly slot: Slot;
  /** The device that the member had when it was added. Another device in the slot does not belong to this rebuild. */
  readonly descriptor: BdevDescriptor | null;
  /** Resolves when the preparation does no more I/O on the device. */
  prepared: Promise<void> | null;
}

/**
 * Queues a rebuild of the slot's member, whose device must be open and its sizes set. `isPartial`: the member lacks only what
 * was written while it was absent, and gets only that. A member of the same kind is added to a rebuild that is still waiting or
 * being prepared, so that all are filled in one pass. If another member is being filled, {@link canTakeAlong} must have
 * returned true in this turn.
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

/**
 * Whether a member can be filled now: no other member is being filled, or the rebuild of another has not begun and can fill
 * both.
 */
export function canTakeAlong({ processes, slots }: QueueHost, isPartial: boolean): boolean {
  return processes.gathering?.takes(isPartial) === true || !slots.some(({ isRebuilding }) => isRebuilding);
}

/** Fills members in one pass. Each of them leaves, fails and gets in sync independently. */
class Rebuild implements Gathering {
  /** Resolves when the process and what follows from its end are done. */
  ended: Promise<void> = Promise.resolve();
  readonly #ctx: SyncContext;
  readonly #array: QueueHost;
  readonly #isPartial: boolean;
  readonly #entries: Entry[] = [];
  #process: RaidProcess | null = null;
  /** The first window has begun or never will, so further members need another pass. */
  #isClosed = false;

  constructor(ctx: SyncContext, array: QueueHost, isPartial: boolean) {
    this.#ctx = ctx;
    this.#array = array;
    this.#isPartial = isPartial;
  }

  /** A partial rebuild must not wait for a full one. */
  takes(isPartial: boolean): boolean {
    return !this.#isClosed && this.#isPartial === isPartial && !this.#isOver();
  }

  add(slot: Slot): void {
    const entry: Entry = { slot, descriptor: slot.descriptor, prepared: null };
    this.#entries.push(entry);
    this.#process?.addTarget(slot);
    slot.fillWith({ isOnMap: this.#isPartial, leave: (reason) => this.#leave(entry, reason) });
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
      // The member may have been the one that was too small or absent when the others grew.
      array.growIfPossible();
      if (array.numInSync < array.numSlots) return;
      ctx.emit({ type: 'arrayOnline', array: array.name, degraded: false });
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      for (const { slot } of this.#entries.filter((entry) => this.#isThere(entry)))
        array.log.error({ ...array.logFields(slot), err: error }, 'the member could not be rebuilt: it is removed');
    } finally {
      this.#isClosed = true;
      process?.close();
      if (process !== null) ctx.resyncExclusion.release(array);
      if (process === null || failure !== null) await Promise.all(this.#entries.map((entry) => this.#drop(entry)));
      ctx.onPlaceFree(array);
    }
  }

  /** Whether the member is still there: it may have left before this began, and another one may be in its slot. */
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

  /** Prepares the members, and again those that were added meanwhile. Afterwards no more are added. */
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
      // Before the member can count as current, its map must show at least what the array's does.
      if (this.#isPartial) await array.bitmap?.writeAll();
      else await array.bitmap?.missAll();
      for (const entry of entries) if (this.#isThere(entry)) entry.slot.noteOnMap();
      // From here on the member has the array's record, which distinguishes it from an older copy of itself.
      await array.metadata.update();
    }
    this.#isClosed = true;
  }

  /** Clears the extension of the member, because records of a former use could look newer than the array's. */
  async #clear({ descriptor, slot }: Entry, process: RaidProcess): Promise<void> {
    if (descriptor === null) return;
    try {
      await this.#array.extension?.clear(descriptor, this.#array.bitmap?.states.length ?? 0);
    } catch (error) {
      process.failTarget(slot, error);
    }
  }

  /** Before the process exists, nothing has been sent to the member, and the wait for it may be long. */
  async #leave(entry: Entry, reason: string): Promise<void> {
    if (this.#process === null) return;
    if (this.#process.dropTarget(entry.slot, new Error(reason))) await entry.prepared;
    else await this.ended;
  }

  /** Empties the slot of a target that was not filled, unless it has another device by now. */
  async #drop({ descriptor, prepared, slot }: Entry): Promise<void> {
    await prepared;
    if (slot.descriptor !== descriptor || !slot.isRebuilding) return;
    if (slot.role === 'rebuilding') this.#array.endFilling(slot);
    await slot.whenFree();
    if (slot.descriptor === descriptor) slot.empty(slot.absence, this.#ctx.registry.runtime.now());
  }
}
