import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, IoOwner } from '@raidkit/bdev';
import type { IoHost } from './host.js';
import { endOfExtent, isUnwritten } from '../bitmap/extents.js';
import { RegionState } from '../bitmap/region-state.js';
import type { RaidLevel, ReadRoute } from '../level/level.js';
import type { Slot } from '../members/slot.js';

/** What takes the reads that cannot be routed, or whose member did not give all of it. */
interface OrdinaryPath {
  /** The level has thrown: it is asked for nothing more. */
  readonly hasLevelThrown: boolean;
  onLevelThrewElsewhere(error: unknown): void;
  /** `failedSlot`: its member has been asked, and has answered with an error; -1 if none has been. */
  submitUnrouted(parent: BdevIo, failedSlot: number, error: Status): void;
  countError(slot: Slot, part: BdevIo): void;
  beginRead(slot: Slot, numBlocks: number): void;
  /** The read has failed, with this status, where no other member could answer it. */
  completeLost(parent: BdevIo, status: Status): void;
}

/**
 * Reads that lie wholly on one member, while nothing special goes on: they need no request of the level's, and so most of what
 * core does for one. All others, and those that fail, take the ordinary path from its start: errors, repair, and blocks that
 * are in doubt, unwritten or bad are dealt with there alone.
 */
export class RoutedReads implements IoOwner {
  readonly #array: IoHost;
  readonly #path: OrdinaryPath;
  readonly #route: ReadRoute = { slot: -1, offsetBlocks: 0 };

  constructor(array: IoHost, path: OrdinaryPath) {
    this.#array = array;
    this.#path = path;
  }

  /** False if the read is none of these: nothing has been done then. */
  submit(parent: BdevIo): boolean {
    const { badBlocks, bitmap, consistency, level, process, routesReads, state } = this.#array;
    if (!routesReads || state !== 'online' || level?.routeRead === undefined || this.#path.hasLevelThrown) return false;
    // A process fills a member, or is about to write where copies differ.
    if (process !== null || badBlocks.size > 0 || !consistency.isAllInSync) return false;
    if (bitmap !== null && bitmap.count(RegionState.Unwritten) > 0 && !this.#isWritten(parent)) return false;
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
    slot.partsInFlight++;
    this.#path.beginRead(slot, part.numBlocks);
    if (!answers.isArmed) answers.arm();
    path.submit(part);
    return true;
  }

  onIoDone(part: BdevIo): void {
    const parent = part.context as BdevIo;
    const { status, tag } = part;
    const slot = this.#array.slotAt(tag);
    slot.readBlocksInFlight -= part.numBlocks;
    if (status !== Status.Ok) this.#path.countError(slot, part);
    this.#array.registry.ios.put(part);
    slot.partEnded();
    // A device that was given up may still fill the buffer, so nothing else may be read into it.
    if (status === Status.Ok || status === Status.TimedOut) parent.complete(status);
    else if (this.#array.module.redundancy === 'none') this.#path.completeLost(parent, status);
    else this.#path.submitUnrouted(parent, tag, status);
  }

  /** Whether none of the blocks reads as zeros because nothing was ever written there. */
  #isWritten({ offsetBlocks, numBlocks }: BdevIo): boolean {
    const end = offsetBlocks + numBlocks;
    return !isUnwritten(this.#array, offsetBlocks) && endOfExtent(this.#array, offsetBlocks, end) === end;
  }

  /** The slot whose member has all of the read; null if there is none. */
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
