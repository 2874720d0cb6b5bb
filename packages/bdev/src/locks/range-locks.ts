/** One wish to have a range to oneself. Embed one in a pooled request: taking and releasing allocates nothing. */
export class RangeLock {
  // Not to be changed while the lock is held or waits.
  /** First unit (block, byte, stripe: the user's choice) of the range. */
  start = 0;
  /** First unit after the range. */
  end = 0;
  /** Shared holders of a range exclude exclusive ones, not each other. */
  isShared = false;
  /** Called when the lock is granted later; never from inside `acquire`. */
  readonly onLocked: () => void;

  // The list's own.
  prev: RangeLock | null = null;
  next: RangeLock | null = null;
  isHeld = false;
  isWaiting = false;

  constructor(onLocked: () => void) {
    this.onLocked = onLocked;
  }
}

/** How finely a list knows where its locks are: ranges of so many units fall into so many classes. */
const unitsPerPlace = 16;
const places = 512;
/** A lock that covers more places than this is counted as being everywhere. */
const mostPlaces = 64;

class LockList {
  head: RangeLock | null = null;
  tail: RangeLock | null = null;
  #exclusive = 0;
  /** Locks that cover too much to say where they are. */
  #wide = 0;
  /** How many of the others touch each place, modulo their number: 0 is certain. */
  readonly #counts = new Uint32Array(places);

  push(lock: RangeLock): void {
    lock.prev = this.tail;
    lock.next = null;
    if (this.tail === null) this.head = lock;
    else this.tail.next = lock;
    this.tail = lock;
    this.#count(lock, 1);
  }

  remove(lock: RangeLock): void {
    if (lock.prev === null) this.head = lock.next;
    else lock.prev.next = lock.next;
    if (lock.next === null) this.tail = lock.prev;
    else lock.next.prev = lock.prev;
    lock.prev = null;
    lock.next = null;
    this.#count(lock, -1);
  }

  /** Whether a lock of this list, up to `until`, stands in the way of `lock`. */
  conflicts(lock: RangeLock, until: RangeLock | null): boolean {
    if (this.head === null || (lock.isShared && this.#exclusive === 0) || this.#isClear(lock)) return false;
    for (let other = this.head as RangeLock | null; other !== until && other !== null; other = other.next) {
      if (other.start < lock.end && lock.start < other.end && !(other.isShared && lock.isShared)) return true;
    }
    return false;
  }

  #count(lock: RangeLock, step: number): void {
    if (!lock.isShared) this.#exclusive += step;
    const first = Math.floor(lock.start / unitsPerPlace);
    const last = Math.floor((lock.end - 1) / unitsPerPlace);
    if (last - first >= mostPlaces) {
      this.#wide += step;
      return;
    }
    for (let place = first; place <= last; place++) this.#counts[place % places] = (this.#counts[place % places] ?? 0) + step;
  }

  /** Certainly nothing of this list is where the lock is. */
  #isClear(lock: RangeLock): boolean {
    if (this.#wide > 0) return false;
    const first = Math.floor(lock.start / unitsPerPlace);
    const last = Math.floor((lock.end - 1) / unitsPerPlace);
    if (last - first >= mostPlaces) return false;
    for (let place = first; place <= last; place++) if ((this.#counts[place % places] ?? 0) > 0) return false;
    return true;
  }
}

/**
 * Locks on ranges, first come first served: who waits is not overtaken by a later one that overlaps him. Made for some
 * hundred requests in flight: their number costs something only where ranges are near one another.
 */
export class RangeLocks {
  readonly #held = new LockList();
  readonly #waiting = new LockList();

  /** True: the lock is held now. False: `lock.onLocked()` will be called, inside somebody's `release`. */
  acquire(lock: RangeLock): boolean {
    if (lock.isHeld || lock.isWaiting) throw new Error('a range lock was acquired twice');
    if (this.#held.conflicts(lock, null) || this.#waiting.conflicts(lock, null)) {
      lock.isWaiting = true;
      this.#waiting.push(lock);
      return false;
    }
    lock.isHeld = true;
    this.#held.push(lock);
    return true;
  }

  /** Ends a hold and grants the lock to those who can have it now. */
  release(lock: RangeLock): void {
    if (!lock.isHeld) throw new Error('a range lock was released that is not held');
    lock.isHeld = false;
    this.#held.remove(lock);
    for (let waiter = this.#waiting.head; waiter !== null;) {
      if (this.#held.conflicts(waiter, null) || this.#waiting.conflicts(waiter, waiter)) {
        waiter = waiter.next;
        continue;
      }
      this.#waiting.remove(waiter);
      waiter.isWaiting = false;
      waiter.isHeld = true;
      this.#held.push(waiter);
      waiter.onLocked();
      // The new holder may have released, and granted, others: look again from the start.
      waiter = this.#waiting.head;
    }
  }

  get isIdle(): boolean {
    return this.#held.head === null && this.#waiting.head === null;
  }
}
