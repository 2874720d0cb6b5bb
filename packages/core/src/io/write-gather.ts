import { Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { RaidGeometry } from '../level/context.js';
import type { RaidIo, RaidIoOwner } from '../level/raid-io.js';
import type { IoHost } from './host.js';

/** Most bytes of one gathered write. */
const mostBytes = 1024 * 1024;
/** Gathered writes of an array that are under way at a time. */
const mostGathered = 8;
/** A stream with less than this part of a stripe in flight is one of few, small writes. */
const fewShare = 8;
/** `driverTag` of a write in a run: something else has been begun for blocks of it since the run was. */
const overtaken = 1;
/** Streams are found by where they go on; so many lists of them. */
const lists = 64;

/** Writes of users that came to the level together with others; counted since the array was made known. */
export interface GatheredWrites {
  /** Writes of users. */
  requests: number;
  /** What the level was handed for them. */
  operations: number;
  /** How many of these failed, so that their writes were made one by one. */
  failed: number;
}

/** What takes writes to the level. */
interface WritePath {
  /** Begins one write; `owner` is told of its end before the caller. */
  startWrite(parent: BdevIo, owner: RaidIoOwner): void;
  /** Begins one write for several; only `owner` is told of its end. */
  startGathered(flags: number, offsetBlocks: number, numBlocks: number, addr: number, owner: RaidIoOwner): void;
  /** The way of a write that has waited and is not gathered, whatever the array is at. */
  submitHeld(parent: BdevIo): void;
}

/** Writes each of which begins where the one before it ends, while one of them is under way. */
class Stream implements RaidIoOwner {
  /** The block behind the last of them. */
  to = 0;
  /** Blocks that the level has been handed. */
  atWork = 0;
  waiting: Run | null = null;
  /** How many keep it: writes at the level, the run that waits, a call that is at it. */
  users = 0;
  next: Stream | null = null;
  readonly #gather: WriteGather;

  constructor(gather: WriteGather) {
    this.#gather = gather;
  }

  /** A write of it alone is done. */
  onRaidIoDone(io: RaidIo): void {
    this.#gather.onWritten(this, io.numBlocks);
  }
}

/** Writes of a stream that the level is to be handed as one. */
class Run implements RaidIoOwner {
  stream: Stream | null = null;
  offsetBlocks = 0;
  numBlocks = 0;
  flags = 0;
  /** The writes, in order, linked by their `driverContext`. */
  first: BdevIo | null = null;
  last: BdevIo | null = null;
  /** Where their data has been put together; -1 before. */
  addr = -1;
  prev: Run | null = null;
  next: Run | null = null;
  readonly #gather: WriteGather;

  constructor(gather: WriteGather) {
    this.#gather = gather;
  }

  onRaidIoDone(io: RaidIo): void {
    this.#gather.onRunWritten(this, io.status);
  }
}

/**
 * Makes one write of several that follow one another in a stripe with parity. A write that begins where another one ends which is
 * under way waits: until that is done, or what waits reaches the stripe's end. Any other write goes at once. To all below, what
 * has been gathered is one write; if it fails, its writes are made one by one, so that each has an outcome of its own.
 */
export class WriteGather {
  readonly counts: GatheredWrites = { requests: 0, operations: 0, failed: 0 };
  readonly #array: IoHost;
  readonly #path: WritePath;
  readonly #streams: (Stream | null)[] = Array.from({ length: lists }, () => null);
  readonly #idleStreams: Stream[] = [];
  readonly #idleRuns: Run[] = [];
  #firstWaiting: Run | null = null;
  /** Begun: with the level, or failed and not taken apart yet. */
  readonly #atWork: Run[] = [];
  #pool: BufferPool | null = null;
  // What the array was like when it was last looked at.
  #membership = -1;
  #geometry: RaidGeometry | null = null;
  /** Blocks of the array that one write may cover; 0: nothing is gathered. */
  #unit = 0;
  #strip = 0;
  #mostBlocks = 0;

  constructor(array: IoHost, path: WritePath) {
    this.#array = array;
    this.#path = path;
  }

  /** Takes a write that may be gathered; false for one that goes its own way. */
  submit(parent: BdevIo): boolean {
    const { offsetBlocks, numBlocks } = parent;
    this.letGo(offsetBlocks, numBlocks);
    if (!this.#mayGather()) return false;
    const inUnit = offsetBlocks % this.#unit;
    if (inUnit + numBlocks > this.#unit || numBlocks === this.#unit || numBlocks >= this.#mostBlocks) return false;
    let stream = this.#take(offsetBlocks);
    if (stream === null) {
      stream = this.#idleStreams.pop() ?? new Stream(this);
      stream.to = offsetBlocks + numBlocks;
      this.#add(stream);
      this.#startAlone(stream, parent);
      return true;
    }
    stream.users++;
    stream.to = offsetBlocks + numBlocks;
    this.#add(stream);
    if (stream.waiting !== null && !this.#fits(stream.waiting, parent)) this.#start(stream, stream.waiting);
    // The client of the write that has just been started may have been told at once, and may have gone on behind this one.
    if (stream.waiting !== null && stream.waiting.offsetBlocks + stream.waiting.numBlocks !== offsetBlocks)
      this.#startAlone(stream, parent);
    else {
      const run = this.#append(stream, parent);
      if (this.#isComplete(run) || this.#canStart(stream, run)) this.#start(stream, run);
    }
    this.#leave(stream);
    return true;
  }

  /** Before blocks are changed that writes which wait are to change: these go first. */
  letGo(offsetBlocks: number, numBlocks: number): void {
    // What waits is told of that when what it waits for is over.
    if (this.#array.state !== 'online') return;
    const end = offsetBlocks + numBlocks;
    let run = this.#firstWaiting;
    while (run !== null) {
      const { next, stream } = run;
      if (overlaps(run, offsetBlocks, end) && stream !== null) {
        this.#start(stream, run);
        // A client that was told at once may have changed the list.
        run = this.#firstWaiting;
      } else run = next;
    }
    for (const one of this.#atWork) {
      if (!overlaps(one, offsetBlocks, end)) continue;
      for (let io = one.first; io !== null; io = nextOf(io)) if (overlaps(io, offsetBlocks, end)) io.driverTag = overtaken;
    }
  }

  /** No write is under way, and none will come. */
  close(): void {
    this.#pool?.close();
    this.#pool = null;
    this.#geometry = null;
  }

  /** For {@link Stream}: so many blocks that the level had been handed are done. */
  onWritten(stream: Stream, numBlocks: number): void {
    stream.atWork -= numBlocks;
    const run = stream.waiting;
    if (run !== null && this.#canStart(stream, run)) this.#start(stream, run);
    this.#leave(stream);
  }

  /** For {@link Run}: it is done. */
  onRunWritten(run: Run, status: Status): void {
    const { numBlocks, stream } = run;
    this.#pool?.put(run.addr);
    if (status === Status.Ok) this.#acknowledge(run);
    // What has failed is perhaps not each of them. In a later turn: this may be the call that brought one of them.
    else {
      this.counts.failed++;
      this.#array.registry.runtime.soon(() => this.#takeApart(run, status));
    }
    if (stream !== null) this.onWritten(stream, numBlocks);
  }

  #mayGather(): boolean {
    const array = this.#array;
    if (array.state !== 'online') return false;
    if (array.membership !== this.#membership || array.currentGeometry !== this.#geometry) this.#look();
    return this.#unit > 0 && (array.process === null || array.process.targets.length === 0);
  }

  #look(): void {
    const array = this.#array;
    const { currentGeometry: geometry } = array;
    this.#membership = array.membership;
    this.#geometry = geometry;
    this.#unit = 0;
    if (!array.gathersWrites || geometry?.stripe === undefined || geometry.gathersWrites === false) return;
    // With nothing to lose, a part that fails leaves what absent members hold in doubt, in all columns of the write.
    if (array.module.redundancy !== 'parity' || array.canLose < 1) return;
    const { optimalIoBoundary = 0, splitOnBoundary = false, splitOnWriteUnit = false, stripe, writeUnitSize = 1 } = geometry;
    const unit = splitOnWriteUnit ? writeUnitSize : splitOnBoundary ? optimalIoBoundary : stripe.arrayBlocks;
    if (stripe.arrayBlocks % unit !== 0) return;
    this.#unit = unit;
    this.#strip = optimalIoBoundary;
    this.#mostBlocks = Math.min(unit, mostBytes / array.blockSize);
  }

  /** The stream that goes on at this block, out of its list; null if there is none. */
  #take(to: number): Stream | null {
    const list = to % lists;
    let before: Stream | null = null;
    for (let stream = this.#streams[list] ?? null; stream !== null; stream = stream.next) {
      if (stream.to === to) {
        if (before === null) this.#streams[list] = stream.next;
        else before.next = stream.next;
        stream.next = null;
        return stream;
      }
      before = stream;
    }
    return null;
  }

  #add(stream: Stream): void {
    const list = stream.to % lists;
    stream.next = this.#streams[list] ?? null;
    this.#streams[list] = stream;
  }

  #leave(stream: Stream): void {
    if (--stream.users > 0) return;
    const list = stream.to % lists;
    let before: Stream | null = null;
    for (let one = this.#streams[list] ?? null; one !== stream && one !== null; one = one.next) before = one;
    if (before === null) this.#streams[list] = stream.next;
    else before.next = stream.next;
    stream.next = null;
    this.#idleStreams.push(stream);
  }

  /** Whether the write can be one with the run, at whose end it begins. */
  #fits(run: Run, { flags, numBlocks }: BdevIo): boolean {
    return run.flags === flags && run.numBlocks + numBlocks <= this.#mostBlocks;
  }

  #isComplete({ numBlocks, offsetBlocks }: Run): boolean {
    return (offsetBlocks + numBlocks) % this.#unit === 0 || numBlocks >= this.#mostBlocks;
  }

  /**
   * Nothing is at work. Or little is in flight, and half of it waits: two small writes side by side take members as long as one
   * does, unless they have columns of the stripe in common.
   */
  #canStart(stream: Stream, run: Run): boolean {
    const { atWork } = stream;
    if (atWork === 0) return true;
    if (run.numBlocks < atWork || (run.numBlocks + atWork) * fewShare > this.#unit) return false;
    if (run.offsetBlocks % this.#unit === 0) return true;
    const strip = this.#strip;
    if (strip === 0 || run.offsetBlocks < atWork) return false;
    const first = Math.floor((run.offsetBlocks - atWork) / strip);
    return first === Math.floor((run.offsetBlocks + run.numBlocks - 1) / strip);
  }

  #append(stream: Stream, parent: BdevIo): Run {
    parent.driverContext = null;
    parent.driverTag = 0;
    let run = stream.waiting;
    if (run === null) {
      run = this.#idleRuns.pop() ?? new Run(this);
      run.stream = stream;
      run.offsetBlocks = parent.offsetBlocks;
      run.numBlocks = 0;
      run.flags = parent.flags;
      run.first = parent;
      run.prev = null;
      run.next = this.#firstWaiting;
      if (run.next !== null) run.next.prev = run;
      this.#firstWaiting = run;
      stream.waiting = run;
      stream.users++;
    } else if (run.last !== null) run.last.driverContext = parent;
    run.last = parent;
    run.numBlocks += parent.numBlocks;
    return run;
  }

  #startAlone(stream: Stream, parent: BdevIo): void {
    stream.atWork += parent.numBlocks;
    stream.users++;
    this.#path.startWrite(parent, stream);
  }

  /** Hands what waits to the level. */
  #start(stream: Stream, run: Run): void {
    stream.waiting = null;
    if (run.prev === null) this.#firstWaiting = run.next;
    else run.prev.next = run.next;
    if (run.next !== null) run.next.prev = run.prev;
    run.prev = null;
    run.next = null;
    const { first } = run;
    this.#atWork.push(run);
    // Asked again: it has waited.
    if (first === null || !this.#mayGather() || isAnyUnwanted(run)) this.#takeApart(run);
    else if (first === run.last) {
      this.#put(run);
      this.#startAlone(stream, first);
    } else if (this.#gatherData(run)) {
      this.counts.operations++;
      stream.atWork += run.numBlocks;
      stream.users++;
      this.#path.startGathered(run.flags, run.offsetBlocks, run.numBlocks, run.addr, run);
    } else this.#takeApart(run);
    this.#leave(stream);
  }

  /** Copies the data of the writes to where they follow one another; false if there is no buffer. */
  #gatherData(run: Run): boolean {
    const { blockSize, memory } = this.#array;
    const slotBytes = this.#mostBlocks * blockSize;
    try {
      this.#pool ??= new BufferPool(memory, { slotBytes, count: mostGathered });
    } catch {
      return false;
    }
    if (this.#pool.slotBytes < run.numBlocks * blockSize) return false;
    run.addr = this.#pool.get();
    if (run.addr < 0) return false;
    let to = run.addr;
    for (let io = run.first; io !== null; io = nextOf(io)) {
      memory.copy(to, io.addr, io.numBlocks * blockSize);
      to += io.numBlocks * blockSize;
      this.counts.requests++;
    }
    return true;
  }

  #acknowledge(run: Run): void {
    let io = run.first;
    this.#put(run);
    while (io !== null) {
      const next = nextOf(io);
      io.driverContext = null;
      io.complete(Status.Ok);
      io = next;
    }
  }

  /** Each write goes on its own. `status` is how they have failed together, if they have. */
  #takeApart(run: Run, status: Status = Status.IoError): void {
    // A client that is told at once may begin a write that overlaps those that are left.
    for (let io = run.first; io !== null; io = run.first) {
      run.first = nextOf(io);
      io.driverContext = null;
      // The client has been told that it timed out, and may have written something else since.
      if (io.isUnwanted) io.complete(Status.Cancelled);
      // Made now, it would lie over what was begun after it and may have been acknowledged.
      else if (io.driverTag === overtaken) io.complete(status);
      else this.#path.submitHeld(io);
    }
    this.#put(run);
  }

  #put(run: Run): void {
    const at = this.#atWork.indexOf(run);
    if (at >= 0) {
      const last = this.#atWork.pop();
      if (last !== undefined && last !== run) this.#atWork[at] = last;
    }
    run.stream = null;
    run.first = null;
    run.last = null;
    run.addr = -1;
    this.#idleRuns.push(run);
  }
}

function nextOf(io: BdevIo): BdevIo | null {
  return io.driverContext as BdevIo | null;
}

function overlaps({ numBlocks, offsetBlocks }: Run | BdevIo, from: number, end: number): boolean {
  return offsetBlocks < end && from < offsetBlocks + numBlocks;
}

function isAnyUnwanted(run: Run): boolean {
  for (let io = run.first; io !== null; io = nextOf(io)) if (io.isUnwanted) return true;
  return false;
}
