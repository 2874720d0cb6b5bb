import { Status } from '@raidkit/core/level';
import type { ProcessRequest, RedundantContext } from '@raidkit/core/level';
import type { LiveMap } from './copy-map.js';

/**
 * Reads what a member must hold from the other copies, in pieces that are consecutive on them. It first reads one copy of every
 * piece in parallel. If a read fails, it starts over and reads one piece after another, trying all copies.
 */
export class Recovery {
  readonly #context: RedundantContext;
  readonly #maps: LiveMap;

  constructor(context: RedundantContext, maps: LiveMap) {
    this.#context = context;
    this.#maps = maps;
  }

  run(request: ProcessRequest): void {
    request.andThen(this.#onAll);
    for (let done = 0; done < request.numBlocks; done += this.#pieceAt(request, done)) {
      if (this.#readPiece(request, done)) continue;
      request.fail(Status.NoDevice);
      return;
    }
  }

  readonly #onAll = (request: ProcessRequest): void => {
    if (request.stepStatus === Status.Ok) request.end();
    else if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else this.#begin(request, 0);
  };

  /** Continues with the piece at `done` blocks from the request's start. */
  #begin(request: ProcessRequest, done: number): void {
    request.forgetUnreadable();
    request.a = done;
    if (done === request.numBlocks) request.end();
    else this.#readOne(request);
  }

  #readOne(request: ProcessRequest): void {
    request.andThen(this.#onOne);
    if (!this.#readPiece(request, request.a))
      request.fail(request.readStatus === Status.Ok ? Status.NoDevice : request.readStatus);
  }

  readonly #onOne = (request: ProcessRequest): void => {
    // A device that timed out may still write to the buffer, so nothing else may be read into it.
    if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
    else if (request.stepStatus === Status.Ok) this.#begin(request, request.a + this.#pieceAt(request, request.a));
    else this.#readOne(request);
  };

  /** Length in blocks of the piece at `done`. */
  #pieceAt({ numBlocks, offsetBlocks }: ProcessRequest, done: number): number {
    const { isAligned, strip } = this.#maps.now;
    return isAligned ? numBlocks - done : Math.min(numBlocks - done, strip - ((offsetBlocks + done) % strip));
  }

  /** Reads the cheapest available copy of the piece that has not failed yet. Returns false if there is none. */
  #readPiece(request: ProcessRequest, done: number): boolean {
    const map = this.#maps.now;
    const at = request.offsetBlocks + done;
    const strip = map.stripOn(request.slot, at);
    const base = at - map.offset(strip, map.copyOn(request.slot, strip));
    const numBlocks = this.#pieceAt(request, done);
    // Where copies may differ, the first readable copy counts, as for users' reads.
    const mustAgree = map.inDoubt(this.#context, at, numBlocks);
    let best = -1;
    let least = Infinity;
    for (let copy = 0; copy < map.copies(strip) && !(mustAgree && best >= 0); copy++) {
      const slot = map.slot(strip, copy);
      if (!request.hasMember(slot) || request.unreadable.includes(slot)) continue;
      const cost = this.#context.readCost(slot);
      if (cost >= least) continue;
      best = copy;
      least = cost;
    }
    if (best < 0) return false;
    const addr = request.addr + done * this.#context.blockSize;
    request.readPart(map.slot(strip, best), base + map.offset(strip, best), numBlocks, addr);
    return true;
  }
}
