import type { Runtime } from '@raidkit/bdev';

/** A user of a {@link ServerQuota}: a connection. */
export interface QuotaUser {
  /** Bytes of buffers that it holds. Only the quota changes this. */
  heldBytes: number;
  /** Number of requests that it has in flight. Only the quota changes this. */
  slots: number;
  /** Bytes of the buffer that it waits for; 0 if it waits for a request. */
  readonly bytesWanted: number;
  /** Further limits, which it shares with other users. */
  readonly shares: readonly QuotaShare[];
  /** There is room, which the user must take before it returns. Called in a later turn than the release that made the room. */
  onQuota(): void;
}

/** Limits the common memory that a group of users holds together, such as those of one peer or of one export. */
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
  /** Largest number of users. Each has a guaranteed floor. */
  maxUsers: number;
}

/** Fraction of memory and requests that is reserved for the floors. */
const floorPart = 1 / 4;

/** The limit that refuses a wish. */
const Obstacle = { None: 0, Share: 1, Common: 2 } as const;

/**
 * Limits the bytes of buffers and the number of requests that all connections of a server have in flight. Each connection is
 * guaranteed a small amount, its floor, whatever the others hold. Above their floors, connections share a common part, first
 * come, first served. A user that is refused by one of its shares does not hold up users outside that share.
 */
export class ServerQuota {
  readonly maxBytes: number;
  readonly maxRequests: number;
  /** The guaranteed floor of each user. */
  readonly floorBytes: number;
  readonly floorRequests: number;
  /** Bytes that all users together may hold above their floors. */
  readonly commonBytes: number;
  bytes = 0;
  requests = 0;
  /** Number of connections that wait for a buffer of the runtime. They are not in this queue, but they count as a shortage. */
  waitingForBuffers = 0;

  readonly #runtime: Runtime;
  readonly #commonRequests: number;
  readonly #waiters = new Set<QuotaUser>();
  /** How much of the common part is in use. */
  #usedBytes = 0;
  #usedRequests = 0;
  /** The first waiter for the common part, which no other user may overtake; null if there is none. */
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

  /** Whether a connection waits for memory or requests. */
  get isShort(): boolean {
    return this.#waiters.size > 0 || this.waitingForBuffers > 0;
  }

  /**
   * Returns whether `user` may take `bytes`, or a request if that is 0, now. No user overtakes those that wait for the common
   * part.
   */
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

  /** Queues the user, whose `onQuota` is called when there may be room for `user.bytesWanted`. */
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

  /**
   * Returns what refuses a wish for `bytes` above the user's floor. A buffer of any size is granted if nothing else is in use
   * under the limit.
   */
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
