/** A lock on a range. Embed it in a pooled request, so that acquiring and releasing it allocates nothing. */
export class RangeLock {
  // These must not change while the lock is held or waits.
  /** First unit of the range; the user chooses the unit (block, byte, stripe). */
  start = 0;
  /** First unit after the range. */
  end = 0;
  /** Shared locks exclude exclusive ones, but not each other. */
  isShared = false;
  /** Called when the lock is granted later; never from inside `acquire`. */
  readonly onLocked: () => void;

  isHeld = false;
  isWaiting = false;

  // Everything below belongs to `RangeLocks`.
  /** Sequence number of the `acquire`, which orders the locks. */
  arrival = 0;
  /** The lock is in its set's tree; otherwise it is in the list. */
  isIndexed = false;
  prev: RangeLock | null = null;
  next: RangeLock | null = null;
  /**
   * List of the locks that wait for this one, through `nextWaiter`. A lock waits for one other at a time: the latest that
   * conflicts.
   */
  firstWaiter: RangeLock | null = null;
  lastWaiter: RangeLock | null = null;
  nextWaiter: RangeLock | null = null;

  // Links of the interval tree.
  left: RangeLock | null = null;
  right: RangeLock | null = null;
  priority = 0;
  furthestEnd = 0;
  earliest = 0;
  latest = 0;

  constructor(onLocked: () => void) {
    this.onLocked = onLocked;
  }
}
