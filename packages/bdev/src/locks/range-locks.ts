import { IntervalTree } from './interval-tree.js';
import type { RangeLock } from './range-lock.js';

/** How finely a set knows where its locks are: ranges of so many units fall into so many classes. */
const unitsPerPlace = 16;
const places = 512;
/** A lock that covers more places than this is counted as being everywhere. */
const mostPlaces = 64;

/** A list of so many locks is searched as quickly as a tree is built. */
const mostUnindexed = 128;

/**
 * The shared or the exclusive locks, held or waiting. A new one goes into a list; when a search meets a list that has become
 * long, its locks move to the tree.
 */
class LockSet {
  size = 0;
  readonly #tree = new IntervalTree();
  /** Head of the list of locks that are not in the tree. */
  #unindexed: RangeLock | null = null;
  #unindexedCount = 0;
  /** Locks that cover too much to say where they are. */
  #wide = 0;
  /** How many of the others touch each place, modulo their number: 0 is certain. */
  readonly #counts = new Uint32Array(places);

  add(lock: RangeLock): void {
    this.size++;
    lock.isIndexed = false;
    lock.prev = null;
    lock.next = this.#unindexed;
    if (lock.next !== null) lock.next.prev = lock;
    this.#unindexed = lock;
    this.#unindexedCount++;
    this.#count(lock, 1);
  }

  remove(lock: RangeLock): void {
    this.size--;
    if (lock.isIndexed) this.#tree.remove(lock);
    else this.#unlink(lock);
    this.#count(lock, -1);
  }

  /** The last of the set's locks that overlap `lock` and came before `arrival`; `best` if that came later still. */
  latestBefore(lock: RangeLock, arrival: number, best: RangeLock | null): RangeLock | null {
    if (this.size === 0 || this.#isClear(lock)) return best;
    if (this.#unindexedCount > mostUnindexed) this.#index();
    let found = best;
    for (let one = this.#unindexed; one !== null; one = one.next) {
      const overlaps = one.start < lock.end && lock.start < one.end;
      if (overlaps && one.arrival < arrival && (found === null || one.arrival > found.arrival)) found = one;
    }
    return this.#tree.latestBefore(lock, arrival, found);
  }

  #index(): void {
    for (let one = this.#unindexed; one !== null; one = this.#unindexed) {
      this.#unlink(one);
      one.isIndexed = true;
      this.#tree.insert(one);
    }
  }

  #unlink(lock: RangeLock): void {
    this.#unindexedCount--;
    if (lock.prev === null) this.#unindexed = lock.next;
    else lock.prev.next = lock.next;
    if (lock.next !== null) lock.next.prev = lock.prev;
    lock.prev = null;
    lock.next = null;
  }

  #count(lock: RangeLock, step: number): void {
    const first = Math.floor(lock.start / unitsPerPlace);
    const last = Math.floor((lock.end - 1) / unitsPerPlace);
    if (last - first >= mostPlaces) {
      this.#wide += step;
      return;
    }
    for (let place = first; place <= last; place++) this.#counts[place % places] = (this.#counts[place % places] ?? 0) + step;
  }

  /** Certainly nothing of this set is where the lock is. */
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
 * Locks on ranges, first come first served: a lock that waits is not overtaken by a later one that overlaps it. Where ranges
 * are far from one another a lock costs the same however many there are; where they overlap, about the logarithm of their
 * number. A chain of overlapping locks is handed on link by link, and no other lock is looked at.
 */
export class RangeLocks {
  readonly #exclusive = new LockSet();
  readonly #shared = new LockSet();
  #arrivals = 0;
  /** Granted and not told yet: a list through `nextWaiter`. */
  #firstGranted: RangeLock | null = null;
  #lastGranted: RangeLock | null = null;
  #isTelling = false;

  /** True: the lock is held now. False: `lock.onLocked()` will be called, inside another lock's `release`. */
  acquire(lock: RangeLock): boolean {
    if (lock.isHeld || lock.isWaiting) throw new Error('a range lock was acquired twice');
    if (this.isIdle) this.#arrivals = 0;
    lock.arrival = ++this.#arrivals;
    const blocker = this.#blockerBefore(lock, lock.arrival);
    (lock.isShared ? this.#shared : this.#exclusive).add(lock);
    if (blocker === null) {
      lock.isHeld = true;
      return true;
    }
    lock.isWaiting = true;
    waitFor(blocker, lock);
    return false;
  }

  /** Ends a hold and grants the locks that can be held now. */
  release(lock: RangeLock): void {
    if (!lock.isHeld) throw new Error('a range lock was released that is not held');
    lock.isHeld = false;
    (lock.isShared ? this.#shared : this.#exclusive).remove(lock);
    let waiter = lock.firstWaiter;
    lock.firstWaiter = null;
    lock.lastWaiter = null;
    while (waiter !== null) {
      const next: RangeLock | null = waiter.nextWaiter;
      waiter.nextWaiter = null;
      // This lock was the latest in the waiter's way, so whatever else is came before it.
      const blocker = this.#blockerBefore(waiter, lock.arrival);
      if (blocker === null) this.#grant(waiter);
      else waitFor(blocker, waiter);
      waiter = next;
    }
    this.#tellGranted();
  }

  get isIdle(): boolean {
    return this.#exclusive.size === 0 && this.#shared.size === 0;
  }

  /** The latest of the locks that came before `arrival` and stand in the way of `lock`, held or waiting. */
  #blockerBefore(lock: RangeLock, arrival: number): RangeLock | null {
    const blocker = this.#exclusive.latestBefore(lock, arrival, null);
    return lock.isShared ? blocker : this.#shared.latestBefore(lock, arrival, blocker);
  }

  #grant(lock: RangeLock): void {
    lock.isWaiting = false;
    lock.isHeld = true;
    if (this.#lastGranted === null) this.#firstGranted = lock;
    else this.#lastGranted.nextWaiter = lock;
    this.#lastGranted = lock;
  }

  /** One after the other, also where who is told releases at once: a long chain of those would overflow the stack. */
  #tellGranted(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      for (let lock = this.#firstGranted; lock !== null; lock = this.#firstGranted) {
        this.#firstGranted = lock.nextWaiter;
        if (this.#firstGranted === null) this.#lastGranted = null;
        lock.nextWaiter = null;
        lock.onLocked();
      }
    } finally {
      this.#isTelling = false;
    }
  }
}

function waitFor(blocker: RangeLock, waiter: RangeLock): void {
  if (blocker.lastWaiter === null) blocker.firstWaiter = waiter;
  else blocker.lastWaiter.nextWaiter = waiter;
  blocker.lastWaiter = waiter;
}
