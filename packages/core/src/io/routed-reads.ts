import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';
import type { IoHost } from './host.js';
import { isAnyUnwritten } from '../bitmap/extents.js';
import type { RaidLevel, ReadRoute } from '../level/level.js';
import type { Slot } from '../members/slot.js';

/** Handles the reads that cannot be routed, or whose member returned an error. */
interface OrdinaryPath {
  /** The level threw an exception, so it must not be called any more. */
  readonly hasLevelThrown: boolean;
  onLevelThrewElsewhere(error: unknown): void;
  /** `failedSlot`: slot of the member that returned `error` for the read; -1 if none was asked. */
  submitUnrouted(parent: BdevIo, failedSlot: number, error: Status): void;
  countError(slot: Slot, part: BdevIo): void;
  beginRead(slot: Slot, numBlocks: number): void;
  /** The read failed with this status, and no other member can answer it. */
  completeLost(parent: BdevIo, status: Status): void;
}

/**
 * Sends reads that lie on one member directly to it while nothing special goes on. That saves the request to the level and most
 * of core's work for it. All other reads, and those that fail, take the ordinary path from its start, which alone handles
 * errors, repairs, and blocks that are inconsistent, unwritten or bad.
 */
export class RoutedReads implements IoOwner {
  readonly #array: IoHost;
  readonly #path: OrdinaryPath;
  readonly #route: ReadRoute = { slot: -1, offsetBlocks: 0 };

  constructor(array: IoHost, path: OrdinaryPath) {
    this.#array = array;
    this.#path = path;
  }

  /** Returns false, having done nothing, if the read cannot be routed. */
  submit(parent: BdevIo): boolean {
    const { badBlocks, consistency, level, process, routesReads, state } = this.#array;
    if (!routesReads || state !== 'online' || level?.routeRead === undefined || this.#path.hasLevelThrown) return false;
    // A process is filling a member or is about to write where copies differ.
    if (process !== null || badBlocks.size > 0 || !consistency.isAllInSync) return false;
    if (isAnyUnwritten(this.#array, parent.offsetBlocks, parent.offsetBlocks + parent.numBlocks)) return false;
    const slot = this.#slotFor(level, parent);
    const path = slot?.data ?? null;
    if (slot === null || !slot.isInSync || path === null) return false;
    const route = this.#route;
    const { answers, registry } = this.#array;
    const part = registry.ios.get();
    part.type = IoType.Read;
    part.offsetBlocks = slot.dataOffset + route.offsetBlocks;
    part.numBlocks = parent.numBlocks;
    part.addr = parent.addr;
    part.owner = this;
    part.tag = route.slot;
    part.context = parent;
    slot.partBegan();
    this.#path.beginRead(slot, part.numBlocks);
    if (!answers.isArmed) answers.arm();
    path.submit(part);
    return true;
  }

  onIoDone(part: BdevIo): void {
    const parent = part.context as BdevIo;
    const { status, tag } = part;
    const slot = this.#array.slotAt(tag);
    slot.readEnded(part.numBlocks);
    if (status !== Status.Ok) this.#path.countError(slot, part);
    this.#array.registry.ios.put(part);
    slot.partEnded();
    // A timed-out device may still write to the buffer, so nothing else may be read into it.
    if (status === Status.Ok || status === Status.TimedOut) parent.complete(status);
    else if (this.#array.module.redundancy === 'none') this.#path.completeLost(parent, status);
    else this.#path.submitUnrouted(parent, tag, status);
  }

  /** Returns the slot whose member has all of the read; null if there is none. */
  #slotFor(level: RaidLevel, { offsetBlocks, numBlocks }: BdevIo): Slot | null {
    const route = this.#route;
    try {
      return level.routeRead?.(offsetBlocks, numBlocks, route) === true ? this.#array.slotAt(route.slot) : null;
    } catch (error) {
      this.#path.onLevelThrewElsewhere(error);
      return null;
    }
  }
}
