import { RangeLocks, Status, raidApiVersion } from '@raidkit/core/level';
import type {
  AnyWriteRequest,
  CopiesLevel,
  CopiesModule,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core/level';

/** Every member holds the same data: array block b is block b of each. */
class Copies {
  /** All slots hold the same (L17). */
  readonly copyGroups: readonly (readonly number[])[];
  readonly #context: RedundantContext;
  /** Locks on array blocks that are being changed (L08). */
  readonly #writes = new RangeLocks();

  constructor(context: RedundantContext) {
    this.#context = context;
    this.copyGroups = [Array.from({ length: context.numSlots }, (_, slot) => slot)];
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const numBlocks = Math.min(...capacities);
    return { numBlocks, memberBlocks: capacities.map(() => numBlocks), stripe: { arrayBlocks: 1, memberBlocks: 1 } };
  }

  submitRw(request: RwRequest): void {
    if (request.kind === 'write') {
      request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
    } else if (!this.#context.isReadOnly && this.#context.isInconsistent(request.offsetBlocks, request.numBlocks)) {
      // The copies may differ, so the data of this read is written to all of them: the next read must return the same (L14).
      request.writeBack();
      request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#readNext);
    } else {
      this.#readNext(request);
    }
  }

  /** An unmap writes zeros, so that all copies read the same (L20). */
  submitNullPayload(request: NullPayloadRequest): void {
    if (request.kind === 'unmap') request.trimmed(request.offsetBlocks, request.numBlocks);
    request.lock(this.#writes, request.offsetBlocks, endOf(request), 'exclusive', this.#writeAll);
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#readNext(request);
  }

  /**
   * Reads a copy that is present and has not failed this request (L09, L11): the one with the lowest cost, or the first one
   * where copies may differ.
   */
  readonly #readNext = (request: ReadRequest | ProcessRequest): void => {
    const { offsetBlocks, numBlocks, unreadable } = request;
    const mustAgree = this.#context.isInconsistent(offsetBlocks, numBlocks);
    let best = -1;
    let least = Infinity;
    for (let slot = 0; slot < this.#context.numSlots; slot++) {
      if (!request.hasMember(slot) || unreadable.includes(slot)) continue;
      const load = mustAgree ? slot : this.#context.readCost(slot);
      if (load >= least) continue;
      best = slot;
      least = load;
    }
    if (best < 0) {
      request.fail(request.readStatus === Status.Ok ? Status.NoDevice : request.readStatus);
      return;
    }
    request.a = best;
    request.andThen(this.#onRead);
    request.readPart(best, offsetBlocks, numBlocks, request.addr);
  };

  readonly #onRead = (request: ReadRequest | ProcessRequest): void => {
    const { offsetBlocks, numBlocks } = request;
    if (request.stepStatus === Status.TimedOut) {
      // The device may still write to the buffer (L12).
      request.fail(request.stepStatus);
      return;
    }
    if (request.stepStatus !== Status.Ok) {
      this.#readNext(request);
      return;
    }
    request.end();
    if (request.kind !== 'read') return;
    if (request.writesBack) {
      for (let slot = 0; slot < this.#context.numSlots; slot++)
        if (slot !== request.a && request.hasMember(slot)) request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      return;
    }
    for (const slot of request.unreadable) request.requestRepair(slot, offsetBlocks, numBlocks);
  };

  /**
   * Writes to every member that is present (L07). A member that fails is removed at the end, since all others have the data (so
   * L15 does not apply).
   */
  readonly #writeAll = (request: AnyWriteRequest): void => {
    const { offsetBlocks, numBlocks } = request;
    for (let slot = 0; slot < this.#context.numSlots; slot++) {
      if (!request.hasMember(slot)) continue;
      if (request.kind === 'write') request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      else request.zeroPart(slot, offsetBlocks, numBlocks);
    }
  };
}

function endOf({ numBlocks, offsetBlocks }: { readonly numBlocks: number; readonly offsetBlocks: number }): number {
  return offsetBlocks + numBlocks;
}

/** __TITLE__: a copy on every member. */
export const level: CopiesModule = {
  level: '__LEVEL__',
  aliases: [],
  // Stored in members' superblocks: it must mean this level for ever.
  code: __CODE__,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: true, resize: true },
  redundancy: 'copies',
  maxMissing: (numSlots) => numSlots - 1,
  baseBdevsMin: 2,
  start: (context): CopiesLevel => new Copies(context),
};
