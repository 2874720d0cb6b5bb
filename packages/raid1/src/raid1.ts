import { IoType, RangeLocks, Status, raidApiVersion } from '@raidkit/core';
import type { BdevIo, CopiesModule, RaidGeometry, RaidIo, RaidLevel, RaidView } from '@raidkit/core';

/** N copies. Reads go where the fewest blocks are being read; writes go everywhere. */
class Raid1 implements RaidLevel {
  geometry: RaidGeometry;
  readonly copyGroups: readonly (readonly number[])[];
  readonly #raid: RaidView;
  /** Overlapping writes go one after another: in parallel, two members could end with different winners. */
  readonly #writes = new RangeLocks();

  constructor(raid: RaidView) {
    this.#raid = raid;
    this.copyGroups = [Array.from({ length: raid.numSlots }, (_, slot) => slot)];
    this.geometry = measure(Array.from({ length: raid.numSlots }, (_, slot) => raid.memberCapacity(slot)));
  }

  submitRwRequest(io: RaidIo): void {
    if (io.type !== IoType.Read) {
      this.submitNullPayloadRequest(io);
      return;
    }
    const mayDiffer = this.#mayDiffer(io);
    if (mayDiffer && !this.#raid.isReadOnly) {
      // What is read is what all copies hold from now on, or it might read otherwise next time.
      io.writesBack = true;
      this.#lock(io, this.#readLocked);
    } else {
      this.#readNext(io, mayDiffer);
    }
  }

  /** Writes of every kind. Unmapping one is writing zeroes that may deallocate, so that all members read the same. */
  submitNullPayloadRequest(io: RaidIo): void {
    if (io.type === IoType.Unmap) io.trimmed(io.offsetBlocks, io.numBlocks);
    this.#lock(io, this.#writeAll);
  }

  submitReconstructRequest(io: RaidIo): void {
    this.#readNext(io, this.#mayDiffer(io));
  }

  onPartDone(io: RaidIo, part: BdevIo): void {
    if (part.type === IoType.Read) {
      this.#onReadDone(io, part);
      return;
    }
    if (io.countPart(part)) this.#unlock(io, io.judge());
  }

  resize(memberCapacities: readonly number[]): RaidGeometry | null {
    const geometry = measure(memberCapacities);
    if (geometry.numBlocks <= this.geometry.numBlocks) return null;
    this.geometry = geometry;
    return geometry;
  }

  /** Whether copies may hold different data where the request lies. */
  #mayDiffer(io: RaidIo): boolean {
    return this.#raid.isInconsistent(io.offsetBlocks, io.numBlocks);
  }

  /** Reads from the best member that has not failed this request yet; `io.failedSlots` has those that did. */
  #readNext(io: RaidIo, mustAgree: boolean): void {
    const { numSlots } = this.#raid;
    let best = -1;
    let least = Infinity;
    for (let slot = 0; slot < numSlots; slot++) {
      if (!io.hasMember(slot) || (io.failedSlots.length > 0 && io.failedSlots.includes(slot))) continue;
      const load = this.#raid.outstandingReadBlocks(slot);
      if (load < least) {
        best = slot;
        least = load;
      }
      // All readers of blocks whose copies may differ take the first copy that can be read.
      if (mustAgree) break;
    }
    if (best < 0) this.#unlock(io, io.partStatus === Status.Ok ? Status.NoDevice : io.partStatus);
    else io.submitPart(best, IoType.Read, io.offsetBlocks, io.numBlocks, io.addr);
  }

  #lock(io: RaidIo, then: (io: RaidIo) => void): void {
    io.lock.start = io.offsetBlocks;
    io.lock.end = io.offsetBlocks + io.numBlocks;
    io.onLocked = then;
    if (this.#writes.acquire(io.lock)) then(io);
  }

  #unlock(io: RaidIo, status: Status): void {
    if (io.lock.isHeld) this.#writes.release(io.lock);
    io.complete(status);
  }

  readonly #readLocked = (io: RaidIo): void => this.#readNext(io, this.#mayDiffer(io));

  readonly #writeAll = (io: RaidIo): void => {
    const type = io.type === IoType.Unmap ? IoType.WriteZeroes : io.type;
    for (let slot = 0; slot < this.#raid.numSlots; slot++) {
      if (io.hasMember(slot)) io.submitPart(slot, type, io.offsetBlocks, io.numBlocks, io.addr);
    }
    if (io.partsLeft === 0) this.#unlock(io, Status.NoDevice);
  };

  #onReadDone(io: RaidIo, part: BdevIo): void {
    io.partsLeft--;
    if (part.status !== Status.Ok) {
      if (io.partStatus === Status.Ok) io.partStatus = part.status;
      io.failedSlots.push(part.tag);
      // A device that was given up may still fill the buffer: nothing else may be read into it.
      if (part.status === Status.TimedOut) this.#unlock(io, part.status);
      else this.#readNext(io, this.#mayDiffer(io));
      return;
    }
    if (io.writesBack) {
      this.#writeBack(io, part.tag);
      return;
    }
    // Those that could not read it are given the data again.
    if (io.slot < 0) for (const slot of io.failedSlots) this.#raid.requestRepair(slot, io.offsetBlocks, io.numBlocks);
    io.complete(Status.Ok);
  }

  /** Gives every other copy what this one holds, those that could not read it too. */
  #writeBack(io: RaidIo, source: number): void {
    if (io.failedSlots.length > 0) io.failedSlots.length = 0;
    io.partStatus = Status.Ok;
    io.partsDone = 1;
    for (let slot = 0; slot < this.#raid.numSlots; slot++) {
      if (slot !== source && io.hasMember(slot)) io.submitPart(slot, IoType.Write, io.offsetBlocks, io.numBlocks, io.addr);
    }
    if (io.partsLeft === 0) this.#unlock(io, Status.Ok);
  }
}

function measure(capacities: readonly number[]): RaidGeometry {
  const numBlocks = Math.min(...capacities);
  return {
    numBlocks,
    memberBlocks: capacities.map(() => numBlocks),
    stripe: { arrayBlocks: 1, memberBlocks: 1 },
  };
}

/** The raid1 level, with SPDK's layout: arrays interchange. */
export const raid1: CopiesModule = {
  level: 'raid1',
  aliases: ['1'],
  code: 1,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: true, resize: true },
  redundancy: 'copies',
  maxMissing: (numSlots) => numSlots - 1,
  baseBdevsMin: 2,
  start: (raid) => new Raid1(raid),
};
