import { RaidError, RangeLocks, Status, raidApiVersion } from '@raidkit/core/level';
import type {
  AnyWriteRequest,
  CopiesModule,
  CopySet,
  LevelDescription,
  LevelRequest,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  ReadRoute,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
  WriteRequest,
} from '@raidkit/core/level';
import { LiveMap, shapeOf } from './copy-map.js';
import type { CopyMap } from './copy-map.js';
import { acceptsSlots, canRun, completeOptions, maxMissing, options } from './options.js';
import { Recovery } from './recovery.js';

/** Striped mirroring. A read goes to the copy with the lowest cost, a write to all copies. */
class Raid10 {
  readonly #context: RedundantContext;
  readonly #maps: LiveMap;
  readonly #recovery: Recovery;
  /** Serializes overlapping writes, by array block: in parallel, members could end with different data. */
  readonly #writes = new RangeLocks();
  /** Number of slots that strips are striped over since creation. */
  readonly #numStriped: number;

  constructor(context: RedundantContext, maps: LiveMap) {
    this.#context = context;
    this.#maps = maps;
    this.#numStriped = maps.now.shape.numStriped;
    this.#recovery = new Recovery(context, maps);
  }

  get #map(): CopyMap {
    return this.#maps.now;
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const { arrayBlocks, memberBlocks, shape, strip } = this.#map;
    if (shape.numStriped !== this.#numStriped) refuseOtherNumber(this.#context, this.#numStriped);
    const stripes = Math.floor(Math.min(...capacities) / memberBlocks);
    return {
      numBlocks: stripes * arrayBlocks,
      memberBlocks: capacities.map(() => stripes * memberBlocks),
      optimalIoBoundary: strip,
      splitOnBoundary: true,
      stripe: { arrayBlocks, memberBlocks },
    };
  }

  /** Options of the layout; with further copies, also which slots hold the same. */
  describe(): LevelDescription {
    const { groups, shape } = this.#map;
    const { layout, numCopies, numSlots, numStriped } = shape;
    const usual = { layout, copies: numCopies };
    if (numSlots === numStriped) return usual;
    return { ...usual, further_copies: numSlots - numStriped, groups: groups.map((slots) => slots.join('+')).join(', ') };
  }

  /** The request lies within one strip. */
  submitRw(request: RwRequest): void {
    const { offsetBlocks } = request;
    request.a = this.#map.stripAt(offsetBlocks);
    request.b = this.#map.baseOf(offsetBlocks);
    if (request.kind === 'write') {
      request.lock(this.#writes, offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
    } else if (this.#mayDiffer(request) && !this.#context.isReadOnly) {
      // The copies may differ, so the data of this read is written to all of them: the next read must return the same.
      request.writeBack();
      request.lock(this.#writes, offsetBlocks, endOf(request), 'exclusive', this.#readNext);
    } else {
      this.#readNext(request);
    }
  }

  routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute): boolean {
    const map = this.#map;
    const strip = map.stripAt(offsetBlocks);
    let best = -1;
    let least = Infinity;
    for (let copy = 0; copy < map.copies(strip); copy++) {
      const slot = map.slot(strip, copy);
      if (!this.#context.isMemberInSync(slot)) continue;
      const cost = this.#context.readCost(slot);
      if (cost >= least) continue;
      best = copy;
      least = cost;
    }
    if (best < 0) return false;
    route.slot = map.slot(strip, best);
    route.offsetBlocks = map.baseOf(offsetBlocks) + map.offset(strip, best);
    return true;
  }

  /** An unmap writes zeroes that may deallocate, so that all copies read the same. */
  submitNullPayload(request: NullPayloadRequest): void {
    if (request.kind === 'unmap') request.trimmed(request.offsetBlocks, request.numBlocks);
    request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#zeroAll);
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#recovery.run(request);
  }

  /**
   * Whether copies may differ where the request lies, or anywhere in its stripe if copies lie at different blocks of their
   * members.
   */
  #mayDiffer(request: ReadRequest): boolean {
    return this.#map.inDoubt(this.#context, request.b, request.numBlocks);
  }

  /** Reads the best copy that has not failed this request yet. */
  readonly #readNext = (request: ReadRequest): void => {
    const map = this.#map;
    const { a: strip, b: base, unreadable } = request;
    const mustAgree = this.#mayDiffer(request);
    let best = -1;
    let least = Infinity;
    for (let copy = 0; copy < map.copies(strip); copy++) {
      const slot = map.slot(strip, copy);
      if (!request.hasMember(slot) || (unreadable.length > 0 && unreadable.includes(slot))) continue;
      const cost = this.#context.readCost(slot);
      if (cost < least) {
        best = copy;
        least = cost;
      }
      // Where copies may differ, every reader takes the first copy that can be read.
      if (mustAgree) break;
    }
    if (best < 0) {
      request.fail(request.readStatus === Status.Ok ? Status.NoDevice : request.readStatus);
      return;
    }
    request.c = best;
    request.andThen(this.#onRead);
    request.readPart(map.slot(strip, best), base + map.offset(strip, best), request.numBlocks, request.addr);
  };

  readonly #onRead = (request: ReadRequest): void => {
    // A device that timed out may still write to the buffer, so nothing else may be read into it.
    if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else if (request.stepStatus !== Status.Ok) this.#readNext(request);
    else this.#answer(request);
  };

  #answer(request: ReadRequest): void {
    const map = this.#map;
    const { a: strip, addr, b: base, numBlocks, unreadable } = request;
    request.end();
    if (request.writesBack) {
      // Every other copy is overwritten with this one, also those that could not be read.
      for (let copy = 0; copy < map.copies(strip); copy++) {
        const slot = map.slot(strip, copy);
        if (copy !== request.c && request.hasMember(slot))
          request.writePart(slot, base + map.offset(strip, copy), numBlocks, addr);
      }
      return;
    }
    for (const slot of unreadable) request.requestRepair(slot, base + map.offset(strip, map.copyOn(slot, strip)), numBlocks);
  }

  readonly #writeAll = (request: WriteRequest): void => {
    const map = this.#map;
    const { a: strip, addr, b: base, numBlocks } = request;
    if (!map.isAligned) request.andThen(this.#onWritten);
    for (let copy = 0; copy < map.copies(strip); copy++) {
      const slot = map.slot(strip, copy);
      if (request.hasMember(slot)) request.writePart(slot, base + map.offset(strip, copy), numBlocks, addr);
    }
  };

  /** Sends one part per member for whole stripes, and goes strip by strip through what is before and behind them. */
  readonly #zeroAll = (request: NullPayloadRequest): void => {
    const { arrayBlocks, isAligned, memberBlocks } = this.#map;
    const { offsetBlocks } = request;
    const end = endOf(request);
    const first = Math.ceil(offsetBlocks / arrayBlocks);
    const last = Math.floor(end / arrayBlocks);
    if (!isAligned) request.andThen(this.#onWritten);
    if (last <= first) {
      this.#zeroStrips(request, offsetBlocks, end);
      return;
    }
    this.#zeroStrips(request, offsetBlocks, first * arrayBlocks);
    for (let slot = 0; slot < this.#context.numSlots; slot++)
      if (request.hasMember(slot)) request.zeroPart(slot, first * memberBlocks, (last - first) * memberBlocks);
    this.#zeroStrips(request, last * arrayBlocks, end);
  };

  /** Blocks `[from, end)` of the array. */
  #zeroStrips(request: NullPayloadRequest, from: number, end: number): void {
    const map = this.#map;
    for (let at = from; at < end;) {
      const next = Math.min(end, (Math.floor(at / map.strip) + 1) * map.strip);
      const strip = map.stripAt(at);
      const base = map.baseOf(at);
      for (let copy = 0; copy < map.copies(strip); copy++) {
        const slot = map.slot(strip, copy);
        if (request.hasMember(slot)) request.zeroPart(slot, base + map.offset(strip, copy), next - at);
      }
      at = next;
    }
  }

  /**
   * Where copies lie at different blocks of their members, a member that missed a write must stay if it has the last copy of
   * something else. Its blocks then differ from the copies that were written, so the stripes are marked inconsistent.
   */
  readonly #onWritten = (request: AnyWriteRequest): void => {
    if (request.failed.length === 0) return;
    request.takeOutFailed();
    if (!request.failed.some((slot) => request.hasMember(slot))) return;
    const { arrayBlocks, memberBlocks } = this.#map;
    const from = Math.floor(request.offsetBlocks / arrayBlocks) * memberBlocks;
    const to = Math.ceil(endOf(request) / arrayBlocks) * memberBlocks;
    this.#context.markInconsistent(from, to - from);
  };
}

function endOf({ offsetBlocks, numBlocks }: LevelRequest): number {
  return offsetBlocks + numBlocks;
}

/**
 * The number of slots determines where data lies, unless the array's recorded options say how many slots strips are striped
 * over.
 */
function refuseOtherNumber({ name, numSlots, options }: RedundantContext, before: number): never {
  const { layout, numCopies } = shapeOf(before, options);
  const message = `array ${name}: level raid10 cannot have ${numSlots} slots instead of ${before}: its layout depends on the number of members, with layout ${layout} and ${numCopies} copies. One of layout near, with a multiple of ${numCopies} members, can have further copies: create such an array, and copy`;
  throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
}

/** A raid10 whose copies have the same block numbers on their members, in groups of slots. */
class AlignedRaid10 extends Raid10 {
  readonly #maps: LiveMap;

  constructor(context: RedundantContext, maps: LiveMap) {
    super(context, maps);
    this.#maps = maps;
  }

  get copyGroups(): readonly (readonly number[])[] {
    return this.#maps.now.groups;
  }
}

/** A raid10 whose copies have different block numbers on their members. */
class SpreadRaid10 extends Raid10 {
  readonly copySets: readonly CopySet[];

  constructor(context: RedundantContext, maps: LiveMap) {
    super(context, maps);
    this.copySets = maps.now.sets();
  }
}

/** The raid10 level: striped mirroring with the layouts of Linux md. Options: `copies`, `layout` and `striped`. */
export const raid10: CopiesModule = {
  level: 'raid10',
  aliases: ['10'],
  code: 0x100a,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'required', nullPayload: true, resize: true },
  redundancy: 'copies',
  maxMissing,
  canRun,
  baseBdevsMin: 2,
  addedSlot: 'copy',
  acceptsSlots,
  options,
  completeOptions,
  optionsDefineLayout: true,
  start(context) {
    const { name, numSlots, options: recorded } = context;
    if (!acceptsSlots(numSlots, recorded))
      throw new RaidError(
        'ERR_RAID_METADATA',
        Status.Invalid,
        `array ${name}: level raid10 has no layout of ${numSlots} slots with the options ${JSON.stringify(recorded)}`,
      );
    const maps = new LiveMap(context);
    return maps.now.isAligned ? new AlignedRaid10(context, maps) : new SpreadRaid10(context, maps);
  },
};
