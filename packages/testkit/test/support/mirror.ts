import { IoType, RangeLocks, Status, raidApiVersion, thirdPartyCodes } from '@raidkit/core';
import type { BdevIo, RaidGeometry, RaidIo, RaidLevel, RaidModule, RaidView } from '@raidkit/core';

/** What a mirror can get wrong. */
export type MirrorBug =
  | 'none'
  | 'skips a member'
  | 'acknowledges early'
  | 'takes a failed read for data'
  | 'gives up at the first read error'
  | 'writes without locks'
  | 'forgets the target of a rebuild'
  | 'swallows write errors'
  | 'unmaps one copy only'
  | 'says that it has unmapped'
  | 'rebuilds from the wrong place'
  | 'never repairs'
  | 'reads past suspicion'
  | 'shifts data when it grows'
  | 'loses an answer';

/** A stranger's level: copies, written from the interface's documentation, with a bug of one's choice. */
class Mirror implements RaidLevel {
  geometry: RaidGeometry;
  readonly copyGroups: readonly (readonly number[])[];
  readonly #raid: RaidView;
  readonly #bug: MirrorBug;
  readonly #locks = new RangeLocks();
  #turn = 0;
  #shift = 0;

  constructor(raid: RaidView, bug: MirrorBug) {
    this.#raid = raid;
    this.#bug = bug;
    this.copyGroups = [Array.from({ length: raid.numSlots }, (_, slot) => slot)];
    this.geometry = this.#measure(Array.from({ length: raid.numSlots }, (_, slot) => raid.memberCapacity(slot)));
  }

  submitRwRequest(io: RaidIo): void {
    if (io.type === IoType.Read) this.#read(io);
    else this.submitNullPayloadRequest(io);
  }

  submitNullPayloadRequest(io: RaidIo): void {
    if (this.#bug === 'loses an answer' && io.type === IoType.WriteZeroes) return;
    if (this.#bug === 'says that it has unmapped' && io.type === IoType.Unmap) {
      io.trimmed(io.offsetBlocks, io.numBlocks);
      io.complete(Status.Ok);
      return;
    }
    if (this.#bug === 'writes without locks') {
      this.#writeAll(io);
      return;
    }
    io.lock.start = io.offsetBlocks;
    io.lock.end = io.offsetBlocks + io.numBlocks;
    io.onLocked = (granted) => this.#writeAll(granted);
    if (this.#locks.acquire(io.lock)) this.#writeAll(io);
  }

  submitReconstructRequest(io: RaidIo): void {
    this.#read(io);
  }

  onPartDone(io: RaidIo, part: BdevIo): void {
    if (io.type === IoType.Read) {
      this.#onRead(io, part);
      return;
    }
    if (this.#bug === 'swallows write errors') part.status = Status.Ok;
    if (this.#bug === 'acknowledges early' && io.c === 1) {
      io.partsLeft--;
      return;
    }
    if (io.partsLeft === 1 && io.lock.isHeld) this.#locks.release(io.lock);
    io.partDone(part);
  }

  resize(memberCapacities: readonly number[]): RaidGeometry | null {
    const geometry = this.#measure(memberCapacities);
    if (geometry.numBlocks <= this.geometry.numBlocks) return null;
    if (this.#bug === 'shifts data when it grows') this.#shift = 1;
    this.geometry = geometry;
    return geometry;
  }

  #read(io: RaidIo): void {
    const mustAgree = this.#bug !== 'reads past suspicion' && this.#raid.isInconsistent(io.offsetBlocks, io.numBlocks);
    const candidates = Array.from({ length: this.#raid.numSlots }, (_, slot) => slot).filter(
      (slot) => io.hasMember(slot) && !io.failedSlots.includes(slot),
    );
    const slot = mustAgree ? candidates[0] : candidates[this.#turn++ % Math.max(1, candidates.length)];
    if (slot === undefined) {
      io.complete(Status.IoError);
      return;
    }
    const isOwn = io.slot < 0;
    const wrong = this.#bug === 'rebuilds from the wrong place' && !isOwn && io.offsetBlocks > 0 ? -1 : 0;
    const shift = io.offsetBlocks + io.numBlocks < this.geometry.numBlocks ? this.#shift : 0;
    io.submitPart(slot, IoType.Read, io.offsetBlocks + wrong + shift, io.numBlocks, io.addr);
  }

  #onRead(io: RaidIo, part: BdevIo): void {
    io.partsLeft--;
    if (part.status !== Status.Ok && this.#bug !== 'takes a failed read for data') {
      if (this.#bug === 'gives up at the first read error') {
        io.complete(part.status);
        return;
      }
      io.failedSlots.push(part.tag);
      this.#read(io);
      return;
    }
    if (io.slot < 0 && this.#bug !== 'never repairs') {
      for (const slot of io.failedSlots) this.#raid.requestRepair(slot, io.offsetBlocks, io.numBlocks);
    }
    io.complete(Status.Ok);
  }

  #writeAll(io: RaidIo): void {
    const type = io.type === IoType.Unmap ? IoType.WriteZeroes : io.type;
    io.c = 0;
    for (let slot = 0; slot < this.#raid.numSlots; slot++) {
      const isMember = this.#bug === 'forgets the target of a rebuild' ? this.#raid.isMemberInSync(slot) : io.hasMember(slot);
      if (!isMember) continue;
      if (this.#bug === 'skips a member' && slot === 1 && io.offsetBlocks % 7 === 3 && io.partsLeft > 0) continue;
      if (this.#bug === 'unmaps one copy only' && io.type !== IoType.Write && io.partsLeft > 0) continue;
      io.submitPart(slot, type, io.offsetBlocks, io.numBlocks, io.addr);
    }
    if (this.#bug === 'acknowledges early' && io.partsLeft > 0) {
      if (io.lock.isHeld) this.#locks.release(io.lock);
      io.complete(Status.Ok);
      return;
    }
    if (io.partsLeft > 0) return;
    if (io.lock.isHeld) this.#locks.release(io.lock);
    io.complete(Status.NoDevice);
  }

  #measure(capacities: readonly number[]): RaidGeometry {
    const numBlocks = Math.min(...capacities);
    return { numBlocks, memberBlocks: capacities.map(() => numBlocks), stripe: { arrayBlocks: 1, memberBlocks: 1 } };
  }
}

export function mirror(bug: MirrorBug): RaidModule {
  return {
    level: 'mirror',
    aliases: [],
    code: thirdPartyCodes.first + 1,
    apiVersion: raidApiVersion,
    manifest: { stripSize: 'none', nullPayload: true, resize: true },
    redundancy: 'copies',
    maxMissing: (numSlots) => numSlots - 1,
    baseBdevsMin: 2,
    start: (raid) => new Mirror(raid, bug),
  };
}
