import { RangeLocks, Status, raidApiVersion } from '@raidkit/core/level';
import type {
  AnyWriteRequest,
  CopiesLevel,
  CopiesModule,
  LevelRequest,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  ReadRoute,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core/level';

/** Requests that are served by reading one copy. */
type CopyRead = ReadRequest | ProcessRequest;

/** Mirroring: every member has a copy. A read goes to the member with the lowest cost, a write to all members. */
class Raid1 {
  #copyGroups: readonly (readonly number[])[] = [];
  readonly #context: RedundantContext;
  /** Serializes overlapping writes: in parallel, members could end with different data. */
  readonly #writes = new RangeLocks();

  constructor(context: RedundantContext) {
    this.#context = context;
  }

  /** One group of all slots. It is made anew when their number has changed. */
  get copyGroups(): readonly (readonly number[])[] {
    const { numSlots } = this.#context;
    if (this.#copyGroups[0]?.length !== numSlots) this.#copyGroups = [Array.from({ length: numSlots }, (_, slot) => slot)];
    return this.#copyGroups;
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const numBlocks = Math.min(...capacities);
    return {
      numBlocks,
      memberBlocks: capacities.map(() => numBlocks),
      stripe: { arrayBlocks: 1, memberBlocks: 1 },
    };
  }

  submitRw(request: RwRequest): void {
    if (request.kind === 'write') {
      request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
    } else if (this.#mayDiffer(request) && !this.#context.isReadOnly) {
      // The copies may differ, so the data of this read is written to all of them: the next read must return the same.
      request.writeBack();
      request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#readNext);
    } else {
      this.#readNext(request);
    }
  }

  routeRead(offsetBlocks: number, _numBlocks: number, route: ReadRoute): boolean {
    const { numSlots } = this.#context;
    let best = -1;
    let least = Infinity;
    for (let slot = 0; slot < numSlots; slot++) {
      if (!this.#context.isMemberInSync(slot)) continue;
      const cost = this.#context.readCost(slot);
      if (cost >= least) continue;
      best = slot;
      least = cost;
    }
    route.slot = best;
    route.offsetBlocks = offsetBlocks;
    return best >= 0;
  }

  /** An unmap writes zeroes that may deallocate, so that all members read the same. */
  submitNullPayload(request: NullPayloadRequest): void {
    if (request.kind === 'unmap') request.trimmed(request.offsetBlocks, request.numBlocks);
    request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#readNext(request);
  }

  /** Whether copies may hold different data where the request lies. */
  #mayDiffer(request: CopyRead): boolean {
    return this.#context.isInconsistent(request.offsetBlocks, request.numBlocks);
  }

  /** Reads from the best member that has not failed this request yet. */
  readonly #readNext = (request: CopyRead): void => {
    const { numSlots } = this.#context;
    const { unreadable } = request;
    const mustAgree = this.#mayDiffer(request);
    let best = -1;
    let least = Infinity;
    for (let slot = 0; slot < numSlots; slot++) {
      if (!request.hasMember(slot) || (unreadable.length > 0 && unreadable.includes(slot))) continue;
      const cost = this.#context.readCost(slot);
      if (cost < least) {
        best = slot;
        least = cost;
      }
      // Where copies may differ, every reader takes the first copy that can be read.
      if (mustAgree) break;
    }
    if (best < 0) {
      request.fail(request.readStatus === Status.Ok ? Status.NoDevice : request.readStatus);
      return;
    }
    request.a = best;
    request.andThen(this.#onRead);
    request.readPart(best, request.offsetBlocks, request.numBlocks, request.addr);
  };

  readonly #onRead = (request: CopyRead): void => {
    // A device that timed out may still write to the buffer, so nothing else may be read into it.
    if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else if (request.stepStatus !== Status.Ok) this.#readNext(request);
    else if (request.kind === 'read') this.#answer(request);
    else request.end();
  };

  #answer(request: ReadRequest): void {
    const { offsetBlocks, numBlocks, unreadable } = request;
    request.end();
    if (request.writesBack) {
      // Every other copy is overwritten with this one, also those that could not be read.
      for (let slot = 0; slot < this.#context.numSlots; slot++)
        if (slot !== request.a && request.hasMember(slot)) request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      return;
    }
    for (const slot of unreadable) request.requestRepair(slot, offsetBlocks, numBlocks);
  }

  readonly #writeAll = (request: AnyWriteRequest): void => {
    const { offsetBlocks, numBlocks } = request;
    for (let slot = 0; slot < this.#context.numSlots; slot++) {
      if (!request.hasMember(slot)) continue;
      if (request.kind === 'write') request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      else request.zeroPart(slot, offsetBlocks, numBlocks);
    }
  };
}

function endOf({ offsetBlocks, numBlocks }: LevelRequest): number {
  return offsetBlocks + numBlocks;
}

/** The raid1 level. Its layout is SPDK's, so arrays can be used by both. */
export const raid1: CopiesModule = {
  level: 'raid1',
  aliases: ['1'],
  code: 1,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: true, resize: true },
  redundancy: 'copies',
  maxMissing: (numSlots) => numSlots - 1,
  baseBdevsMin: 1,
  addedSlot: 'copy',
  start: (context): CopiesLevel => new Raid1(context),
};
