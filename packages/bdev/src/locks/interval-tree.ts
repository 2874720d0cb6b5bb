import type { RangeLock } from './range-lock.js';

/**
 * The shared or the exclusive locks, ordered by their start: a treap whose nodes are the locks themselves, so that nothing is
 * allocated. Each node knows the furthest end and the earliest and latest arrival of its subtree, so a search skips subtrees
 * that cannot contain a match.
 */
export class IntervalTree {
  #root: RangeLock | null = null;
  /** State of a xorshift generator for the nodes' priorities, which only have to be independent of the ranges. */
  #random = 0x2545f491;
  // The two results of a split.
  #less: RangeLock | null = null;
  #more: RangeLock | null = null;

  insert(lock: RangeLock): void {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    lock.priority = this.#random;
    lock.left = null;
    lock.right = null;
    this.#root = this.#insertInto(this.#root, lock);
  }

  /** The lock must be in the tree, with the range that it was inserted with. */
  remove(lock: RangeLock): void {
    this.#root = this.#removeFrom(this.#root, lock);
    lock.left = null;
    lock.right = null;
  }

  /** Returns the latest lock that overlaps `lock` and arrived before `arrival`, or `best` if that arrived later still. */
  latestBefore(lock: RangeLock, arrival: number, best: RangeLock | null): RangeLock | null {
    return latestIn(this.#root, lock, arrival, best);
  }

  #insertInto(node: RangeLock | null, lock: RangeLock): RangeLock {
    if (node === null || lock.priority > node.priority) {
      this.#split(node, lock);
      lock.left = this.#less;
      lock.right = this.#more;
      summarize(lock);
      return lock;
    }
    if (isBefore(lock, node)) node.left = this.#insertInto(node.left, lock);
    else node.right = this.#insertInto(node.right, lock);
    summarize(node);
    return node;
  }

  #removeFrom(node: RangeLock | null, lock: RangeLock): RangeLock | null {
    if (node === null) throw new Error('a range lock is at the wrong position of the tree');
    if (node === lock) return merge(node.left, node.right);
    if (isBefore(lock, node)) node.left = this.#removeFrom(node.left, lock);
    else node.right = this.#removeFrom(node.right, lock);
    summarize(node);
    return node;
  }

  /** Leaves the nodes before `lock` in `#less` and the others in `#more`. */
  #split(node: RangeLock | null, lock: RangeLock): void {
    if (node === null) {
      this.#less = null;
      this.#more = null;
    } else if (isBefore(node, lock)) {
      this.#split(node.right, lock);
      node.right = this.#less;
      summarize(node);
      this.#less = node;
    } else {
      this.#split(node.left, lock);
      node.left = this.#more;
      summarize(node);
      this.#more = node;
    }
  }
}

function isBefore(a: RangeLock, b: RangeLock): boolean {
  return a.start < b.start || (a.start === b.start && a.arrival < b.arrival);
}

function merge(less: RangeLock | null, more: RangeLock | null): RangeLock | null {
  if (less === null) return more;
  if (more === null) return less;
  if (less.priority > more.priority) {
    less.right = merge(less.right, more);
    summarize(less);
    return less;
  }
  more.left = merge(less, more.left);
  summarize(more);
  return more;
}

function summarize(node: RangeLock): void {
  let { end: furthestEnd, arrival: earliest, arrival: latest } = node;
  const { left, right } = node;
  if (left !== null) {
    if (left.furthestEnd > furthestEnd) furthestEnd = left.furthestEnd;
    if (left.earliest < earliest) earliest = left.earliest;
    if (left.latest > latest) latest = left.latest;
  }
  if (right !== null) {
    if (right.furthestEnd > furthestEnd) furthestEnd = right.furthestEnd;
    if (right.earliest < earliest) earliest = right.earliest;
    if (right.latest > latest) latest = right.latest;
  }
  node.furthestEnd = furthestEnd;
  node.earliest = earliest;
  node.latest = latest;
}

function latestIn(node: RangeLock | null, lock: RangeLock, arrival: number, best: RangeLock | null): RangeLock | null {
  if (node === null || node.furthestEnd <= lock.start || node.earliest >= arrival) return best;
  if (best !== null && node.latest <= best.arrival) return best;
  let found = best;
  const isLeftOfEnd = node.start < lock.end;
  if (isLeftOfEnd && lock.start < node.end && node.arrival < arrival && (found === null || node.arrival > found.arrival))
    found = node;
  const { left } = node;
  const right = isLeftOfEnd ? node.right : null;
  // Search the side with the latest arrival first: the other one can then often be skipped.
  if (left !== null && right !== null && right.latest > left.latest) {
    found = latestIn(right, lock, arrival, found);
    return latestIn(left, lock, arrival, found);
  }
  found = latestIn(left, lock, arrival, found);
  return latestIn(right, lock, arrival, found);
}
