import { RangeLocks, Status, raidApiVersion, thirdPartyCodes } from '@raidkit/core/level';
import type {
  AnyWriteRequest,
  CopiesModule,
  NullPayloadRequest,
  ProcessRequest,
  ReadRequest,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core/level';

/** What a mirror can get wrong. */
export type MirrorBug =
  | 'none'
  | 'skips a member'
  | 'takes a failed read for data'
  | 'gives up at the first read error'
  | 'writes without locks'
  | 'forgets the target of a rebuild'
  | 'unmaps one copy only'
  | 'says that it has unmapped'
  | 'rebuilds from the wrong place'
  | 'never repairs'
  | 'reads past suspicion'
  | 'shifts data when it grows'
  | 'loses an answer';

/** A third-party level of copies, written from the interface's documentation, with a selectable bug. */
class Mirror {
  readonly copyGroups: readonly (readonly number[])[];
  readonly #context: RedundantContext;
  readonly #bug: MirrorBug;
  readonly #locks = new RangeLocks();
  readonly #onRead = (request: ReadRequest | ProcessRequest): void => this.#readDone(request);
  readonly #onLocked = (request: AnyWriteRequest): void => this.#writeAll(request);
  readonly #onReadLocked = (request: ReadRequest): void => this.#read(request);
  #turn = 0;

  constructor(context: RedundantContext, bug: MirrorBug) {
    this.#context = context;
    this.#bug = bug;
    this.copyGroups = [Array.from({ length: context.numSlots }, (_, slot) => slot)];
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const numBlocks = Math.min(...capacities);
    return { numBlocks, memberBlocks: capacities.map(() => numBlocks), stripe: { arrayBlocks: 1, memberBlocks: 1 } };
  }

  submitRw(request: RwRequest): void {
    const { offsetBlocks, numBlocks } = request;
    if (request.kind !== 'read') {
      this.#write(request);
    } else if (this.#bug !== 'reads past suspicion' && this.#context.isInconsistent(offsetBlocks, numBlocks)) {
      request.writeBack();
      request.lock(this.#locks, offsetBlocks, offsetBlocks + numBlocks, 'exclusive', this.#onReadLocked);
    } else {
      this.#read(request);
    }
  }

  submitNullPayload(request: NullPayloadRequest): void {
    if (this.#bug === 'loses an answer' && request.kind === 'write zeroes') {
      request.hold(() => undefined);
    } else if (this.#bug === 'says that it has unmapped' && request.kind === 'unmap') {
      request.trimmed(request.offsetBlocks, request.numBlocks);
      request.end();
    } else {
      this.#write(request);
    }
  }

  submitProcessRequest(request: ProcessRequest): void {
    this.#read(request);
  }

  #write(request: AnyWriteRequest): void {
    const { offsetBlocks, numBlocks } = request;
    if (this.#bug === 'writes without locks') this.#writeAll(request);
    else request.lock(this.#locks, offsetBlocks, offsetBlocks + numBlocks, 'exclusive', this.#onLocked);
  }

  #read(request: ReadRequest | ProcessRequest): void {
    const { offsetBlocks, numBlocks, addr, unreadable } = request;
    const mustAgree = this.#bug !== 'reads past suspicion' && this.#context.isInconsistent(offsetBlocks, numBlocks);
    const candidates = Array.from({ length: this.#context.numSlots }, (_, slot) => slot).filter(
      (slot) => request.hasMember(slot) && !unreadable.includes(slot),
    );
    const slot = mustAgree ? candidates[0] : candidates[this.#turn++ % Math.max(1, candidates.length)];
    if (slot === undefined) {
      request.fail(Status.IoError);
      return;
    }
    const isOwn = request.kind === 'read';
    const wrong = this.#bug === 'rebuilds from the wrong place' && !isOwn && offsetBlocks > 0 ? -1 : 0;
    request.a = slot;
    request.andThen(this.#onRead);
    request.readPart(slot, offsetBlocks + wrong + this.#shift(offsetBlocks + numBlocks), numBlocks, addr);
  }

  /** After a growth: the members' first sizes are all that a level sees of what there was before. */
  #shift(end: number): number {
    const { numBlocks } = this.#context.geometry;
    this.#firstBlocks ??= numBlocks;
    return this.#bug === 'shifts data when it grows' && numBlocks > this.#firstBlocks && end < numBlocks ? 1 : 0;
  }

  #firstBlocks: number | null = null;

  #readDone(request: ReadRequest | ProcessRequest): void {
    const { offsetBlocks, numBlocks, unreadable } = request;
    if (request.stepStatus !== Status.Ok && this.#bug !== 'takes a failed read for data') {
      if (request.stepStatus === Status.TimedOut) request.fail(request.stepStatus);
      else if (this.#bug === 'gives up at the first read error') request.fail(request.stepStatus);
      else this.#read(request);
      return;
    }
    if (request.stepStatus !== Status.Ok) {
      // This part is useless, and succeeds, so that the request does.
      const other = Array.from({ length: this.#context.numSlots }, (_, slot) => slot).find(
        (slot) => !unreadable.includes(slot),
      );
      request.andThen((done) => done.end());
      request.readPart(other ?? 0, (offsetBlocks + 1) % this.#context.geometry.numBlocks, 1, request.addr);
      return;
    }
    if (request.kind === 'read' && request.writesBack) {
      request.end();
      for (let slot = 0; slot < this.#context.numSlots; slot++)
        if (slot !== request.a && request.hasMember(slot)) request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      return;
    }
    if (request.kind === 'read' && this.#bug !== 'never repairs') {
      for (const slot of unreadable) request.requestRepair(slot, offsetBlocks, numBlocks);
    }
    request.end();
  }

  #writeAll(request: AnyWriteRequest): void {
    const { offsetBlocks, numBlocks } = request;
    let parts = 0;
    for (let slot = 0; slot < this.#context.numSlots; slot++) {
      const isMember =
        this.#bug === 'forgets the target of a rebuild' ? this.#context.isMemberInSync(slot) : request.hasMember(slot);
      if (!isMember) continue;
      if (this.#bug === 'skips a member' && slot === 1 && offsetBlocks % 7 === 3 && parts > 0) continue;
      if (this.#bug === 'unmaps one copy only' && request.kind !== 'write' && parts > 0) continue;
      parts++;
      if (request.kind === 'write') request.writePart(slot, offsetBlocks, numBlocks, request.addr);
      else request.zeroPart(slot, offsetBlocks, numBlocks);
    }
  }
}

export function mirror(bug: MirrorBug): CopiesModule {
  return {
    level: 'mirror',
    aliases: [],
    code: thirdPartyCodes.first + 1,
    apiVersion: raidApiVersion,
    manifest: { stripSize: 'none', nullPayload: true, resize: true },
    redundancy: 'copies',
    maxMissing: (numSlots) => numSlots - 1,
    baseBdevsMin: 2,
    start: (context) => new Mirror(context, bug),
  };
}
