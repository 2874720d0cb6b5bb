import { IntervalTree } from './interval-tree.js';
import type { RangeLock } from './range-lock.js';

/** A set counts its locks by place, of which each is this many units long. The places repeat after `places` of them. */
const unitsPerPlace = 16;
const places = 512;
/** A lock that covers this many places or more counts as being everywhere. */
const mostPlaces = 64;

/** Longest list that is searched linearly; building the tree costs about as much as searching such a list. */
const mostUnindexed = 128;

/**
 * The shared or the exclusive locks, held or waiting. A new lock goes into a list; a search that meets a long list moves its
 * locks to the tree.
 */
class LockSet {
  size = 0;
  readonly #tree = new IntervalTree();
  /** Head of the list of locks that are not in the tree. */
  #unindexed: RangeLock | null = null;
  #unindexedCount = 0;
  /** Number of locks that cover too many places to be counted in `#counts`. */
  #wide = 0;
  /** Number of the other locks in each place, places being taken modulo `places`: 0 proves that there is none. */
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

  /** Returns the set's latest lock that overlaps `lock` and arrived before `arrival`, or `best` if that arrived later still. */
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

  /** True if certainly no lock of this set overlaps; false if one may. */
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
 * Locks on ranges, granted first come, first served: a later lock never overtakes a waiting one that it overlaps. The cost of a
 * lock does not depend on the number of locks that are far away, and grows with the logarithm of the number that overlap.
 * Releasing a lock looks only at the locks that wait for it.
 */
export class RangeLocks {
  readonly #exclusive = new LockSet();
  readonly #shared = new LockSet();
  #arrivals = 0;
  /** Locks that were granted and whose `onLocked` was not called yet: a list through `nextWaiter`. */
  #firstGranted: RangeLock | null = null;
  #lastGranted: RangeLock | null = null;
  #isTelling = false;

  /** Returns true if the lock is held now. Otherwise `lock.onLocked()` is called later, inside another lock's `release`. */
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

  /** Releases the lock and grants those that can be held now. */
  release(lock: RangeLock): void {
    if (!lock.isHeld) throw new Error('a range lock that is not held was released');
    lock.isHeld = false;
    (lock.isShared ? this.#shared : this.#exclusive).remove(lock);
    let waiter = lock.firstWaiter;
    lock.firstWaiter = null;
    lock.lastWaiter = null;
    while (waiter !== null) {
      const next: RangeLock | null = waiter.nextWaiter;
      waiter.nextWaiter = null;
      // This lock was the latest that the waiter had to wait for, so any other came before it.
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

  /** The latest lock, held or waiting, that arrived before `arrival` and conflicts with `lock`. */
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

  /**
   * Calls `onLocked` one after the other. A callback may release its lock at once; a recursion over a long chain of those would
   * overflow the stack.
   */
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
