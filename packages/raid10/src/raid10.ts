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

/** Striped copies. Reads go where they cost least; writes go to all copies. */
class Raid10 {
  readonly #context: RedundantContext;
  readonly #maps: LiveMap;
  readonly #recovery: Recovery;
  /** Overlapping writes go one after another: in parallel, two members could end with different winners. Blocks of the array. */
  readonly #writes = new RangeLocks();
  /** Slots that strips have been dealt to since the creation. */
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

  /** With further copies, which slots hold the same. */
  describe(): LevelDescription {
    const { groups, shape } = this.#map;
    const { layout, numCopies, numSlots, numStriped } = shape;
    const usual = { layout, copies: numCopies };
    if (numSlots === numStriped) return usual;
    return { ...usual, further_copies: numSlots - numStriped, groups: groups.map((slots) => slots.join('+')).join(', ') };
  }

  /** Within one strip. */
  submitRw(request: RwRequest): void {
    const { offsetBlocks } = request;
    request.a = this.#map.stripAt(offsetBlocks);
    request.b = this.#map.baseOf(offsetBlocks);
    if (request.kind === 'write') {
      request.lock(this.#writes, offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
    } else if (this.#mayDiffer(request) && !this.#context.isReadOnly) {
      // What is read is what all copies hold from now on, or it might read otherwise next time.
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

  /** Unmapping is writing zeroes that may deallocate, so that all copies read the same. */
  submitNullPayload(request: NullPayloadRequest): void {
    if (request.kind === 'unmap') request.trimmed(request.offsetBlocks, request.numBlocks);
    request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#zeroAll);
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#recovery.run(request);
  }

  /** Whether copies may hold different data where the request lies: in its columns, or, where copies lie in others, in its stripe. */
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
      // All readers of blocks whose copies may differ take the first copy that can be read.
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
    // A device that was given up may still fill the buffer: nothing else may be read into it.
    if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else if (request.stepStatus !== Status.Ok) this.#readNext(request);
    else this.#answer(request);
  };

  #answer(request: ReadRequest): void {
    const map = this.#map;
    const { a: strip, addr, b: base, numBlocks, unreadable } = request;
    request.end();
    if (request.writesBack) {
      // Every other copy is given what this one holds, those that could not be read too.
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

  /** Whole stripes are one part for each member; what is left before and behind them, strip by strip. */
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
   * Where copies are spread, a member that has missed a write stays if it is the last one to have something else. Others have a
   * copy of what was written, so the two differ from now on.
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

/** The number of slots says where data lies, but for arrays of which it is on record to how many of them strips are dealt. */
function refuseOtherNumber({ name, numSlots, options }: RedundantContext, before: number): never {
  const { layout, numCopies } = shapeOf(before, options);
  const message = `array ${name}: level raid10 cannot have ${numSlots} slots instead of ${before}: where its data lies depends on how many there are, with layout ${layout} and ${numCopies} copies. One of layout near, with a multiple of ${numCopies} members, can have further copies: create such an array, and copy`;
  throw new RaidError('ERR_RAID_INVALID', 22, message);
}

/** With copies at the same blocks of their members, in groups of slots. */
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

/** With copies at other blocks of each member. */
class SpreadRaid10 extends Raid10 {
  readonly copySets: readonly CopySet[];

  constructor(context: RedundantContext, maps: LiveMap) {
    super(context, maps);
    this.copySets = maps.now.sets();
  }
}

/** The raid10 level: striped copies, as Linux md lays them out. Options: `copies`, `layout` and `striped`. */
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
        22,
        `array ${name}: level raid10 has no layout of ${numSlots} slots with the options ${JSON.stringify(recorded)}`,
      );
    const maps = new LiveMap(context);
    return maps.now.isAligned ? new AlignedRaid10(context, maps) : new SpreadRaid10(context, maps);
  },
};
