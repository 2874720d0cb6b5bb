import type { Runtime } from '@raidkit/bdev';

/** What draws on a {@link ServerQuota}: a connection. */
export interface QuotaUser {
  /** Bytes of buffers that it holds. The quota's own. */
  heldBytes: number;
  /** Requests that it has in flight. The quota's own. */
  slots: number;
  /** Buffer bytes that it needs next; 0 if it needs room for a request. */
  readonly bytesWanted: number;
  /** What else limits it, together with others. */
  readonly shares: readonly QuotaShare[];
  /** There is room: take it before returning. Called in a later turn than the release that made the room. */
  onQuota(): void;
}

/** What some of the users may have of the common part together: those of one peer, or of one export. */
export class QuotaShare {
  readonly maxBytes: number;
  bytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }
}

/** Limits of a {@link ServerQuota}. */
export interface QuotaLimits {
  maxBytes: number;
  maxRequests: number;
  /** Users at a time, at most. Each is sure of its floor. */
  maxUsers: number;
}

/** A quarter of everything is kept for the floors. */
const floorPart = 1 / 4;

/** What stands in the way of a wish. */
const Obstacle = { None: 0, Share: 1, Common: 2 } as const;

/**
 * What all connections of a server may have in flight together: bytes of buffers, and requests. Each of them is sure of a small
 * part, its floor, whatever the others hold; above that they draw on a common part, first come, first served. A user that waits
 * because a share of its own is used up holds up no user outside that share.
 */
export class ServerQuota {
  readonly maxBytes: number;
  readonly maxRequests: number;
  /** What each user is sure of. */
  readonly floorBytes: number;
  readonly floorRequests: number;
  /** What users may have above their floors, together. */
  readonly commonBytes: number;
  bytes = 0;
  requests = 0;
  /** Connections that wait for one of the runtime's buffers. They are not in the queue here, but are pressure all the same. */
  waitingForBuffers = 0;

  readonly #runtime: Runtime;
  readonly #commonRequests: number;
  readonly #waiters = new Set<QuotaUser>();
  /** What is used of the common part. */
  #usedBytes = 0;
  #usedRequests = 0;
  /** The first waiter for the common part, which no other user may overtake. Null if there is none. */
  #first: QuotaUser | null = null;
  #serving: QuotaUser | null = null;
  #isScheduled = false;

  constructor(runtime: Runtime, { maxBytes, maxRequests, maxUsers }: QuotaLimits) {
    this.#runtime = runtime;
    this.maxBytes = maxBytes;
    this.maxRequests = maxRequests;
    this.floorBytes = Math.floor((maxBytes * floorPart) / maxUsers);
    this.floorRequests = Math.floor((maxRequests * floorPart) / maxUsers);
    this.commonBytes = maxBytes - this.floorBytes * maxUsers;
    this.#commonRequests = maxRequests - this.floorRequests * maxUsers;
  }

  /** Whether a connection is held up because memory or requests are short. */
  get isShort(): boolean {
    return this.#waiters.size > 0 || this.waitingForBuffers > 0;
  }

  /** Whether `user` may take `bytes` (0: a request) now. No user overtakes those that wait for the common part. */
  hasRoom(user: QuotaUser, bytes: number): boolean {
    if (this.#isWithinFloor(user, bytes)) return true;
    if (this.#first !== null && this.#serving !== user) return false;
    return this.#obstacle(user, bytes) === Obstacle.None;
  }

  takeRequest(user: QuotaUser): void {
    if (user.slots >= this.floorRequests) this.#usedRequests++;
    user.slots++;
    this.requests++;
  }

  takeBytes(user: QuotaUser, bytes: number): void {
    const above = this.#aboveFloor(user.heldBytes + bytes) - this.#aboveFloor(user.heldBytes);
    user.heldBytes += bytes;
    this.bytes += bytes;
    this.#use(user, above);
  }

  release(user: QuotaUser, bytes: number, requests: number): void {
    const above = this.#aboveFloor(user.heldBytes) - this.#aboveFloor(user.heldBytes - bytes);
    user.heldBytes -= bytes;
    this.bytes -= bytes;
    this.#use(user, -above);
    this.#usedRequests -=
      Math.max(0, user.slots - this.floorRequests) - Math.max(0, user.slots - requests - this.floorRequests);
    user.slots -= requests;
    this.requests -= requests;
    if (this.#waiters.size > 0) this.#serveLater();
  }

  /** To be told when there may be room for `user.bytesWanted`. */
  wait(user: QuotaUser): void {
    this.#waiters.add(user);
    if (this.#first === null && this.#obstacle(user, user.bytesWanted) === Obstacle.Common) this.#first = user;
  }

  cancel(user: QuotaUser): void {
    if (!this.#waiters.delete(user)) return;
    if (this.#first === user) this.#first = null;
    this.#serveLater();
  }

  #aboveFloor(bytes: number): number {
    return bytes > this.floorBytes ? bytes - this.floorBytes : 0;
  }

  #use(user: QuotaUser, bytes: number): void {
    if (bytes === 0) return;
    this.#usedBytes += bytes;
    for (const share of user.shares) share.bytes += bytes;
  }

  #isWithinFloor(user: QuotaUser, bytes: number): boolean {
    return bytes === 0 ? user.slots < this.floorRequests : user.heldBytes + bytes <= this.floorBytes;
  }

  /** For a wish above the floor. One that is alone in what limits it is never refused, however large it is. */
  #obstacle(user: QuotaUser, bytes: number): number {
    if (bytes === 0) return this.#usedRequests < this.#commonRequests ? Obstacle.None : Obstacle.Common;
    const above = this.#aboveFloor(user.heldBytes + bytes) - this.#aboveFloor(user.heldBytes);
    if (this.#usedBytes > 0 && this.#usedBytes + above > this.commonBytes) return Obstacle.Common;
    for (const share of user.shares) if (share.bytes > 0 && share.bytes + above > share.maxBytes) return Obstacle.Share;
    return Obstacle.None;
  }

  #serveLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#runtime.soon(this.#serve);
  }

  readonly #serve = (): void => {
    this.#isScheduled = false;
    this.#first = null;
    for (const user of this.#waiters) {
      const isSure = this.#isWithinFloor(user, user.bytesWanted);
      const obstacle = isSure ? Obstacle.None : this.#obstacle(user, user.bytesWanted);
      if (obstacle === Obstacle.Common) {
        this.#first = user;
        return;
      }
      if (obstacle === Obstacle.Share) continue;
      this.#waiters.delete(user);
      this.#serving = user;
      user.onQuota();
      this.#serving = null;
    }
  };
}
