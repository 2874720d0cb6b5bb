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

  isHeld = false;
  isWaiting = false;

  // All below is the list's own.
  /** Number of the `acquire`, which says who came first. */
  arrival = 0;
  /** In the tree, and not in the list. */
  isIndexed = false;
  prev: RangeLock | null = null;
  next: RangeLock | null = null;
  /** The locks that wait for this one: a list through `nextWaiter`. Each waits for one lock at a time, the latest in its way. */
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
