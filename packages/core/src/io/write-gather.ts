import { Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { RaidGeometry } from '../level/context.js';
import type { RaidIo, RaidIoOwner } from '../level/raid-io.js';
import type { IoHost } from './host.js';

/** Most bytes of one merged write. */
const mostBytes = 1024 * 1024;
/** Most merged writes of an array that are in progress at a time. */
const mostGathered = 8;
/** A stream with less than this fraction (1/8) of a stripe in flight has few, small writes. */
const fewShare = 8;
/** `driverTag` of a write in a run if another request for some of its blocks began after the run. */
const overtaken = 1;
/** Number of lists of streams. A stream is found by the block at which it continues. */
const lists = 64;

/** Counters of users' writes that were merged, since the array became known. */
export interface GatheredWrites {
  /** Users' writes that were merged. */
  requests: number;
  /** Requests to the level that they became. */
  operations: number;
  /** Merged requests that failed, so that their writes were sent one by one. */
  failed: number;
}

/** Submits writes to the level. */
interface WritePath {
  /** Begins one write. `owner` is notified when it is done, before the caller. */
  startWrite(parent: BdevIo, owner: RaidIoOwner): void;
  /** Begins one write that merges several. Only `owner` is notified when it is done. */
  startGathered(flags: number, offsetBlocks: number, numBlocks: number, addr: number, owner: RaidIoOwner): void;
  /** Submits a write that has waited and is not merged, in any state of the array. */
  submitHeld(parent: BdevIo): void;
}

/** Consecutive writes, each beginning where the one before it ends, while one of them is in progress. */
class Stream implements RaidIoOwner {
  /** The block after the last write. */
  to = 0;
  /** Number of blocks in progress at the level. */
  atWork = 0;
  waiting: Run | null = null;
  /** Number of references: writes in progress, the waiting run, and a call that is using the stream. */
  users = 0;
  next: Stream | null = null;
  readonly #gather: WriteGather;

  constructor(gather: WriteGather) {
    this.#gather = gather;
  }

  /** A single write of the stream is done. */
  onRaidIoDone(io: RaidIo): void {
    this.#gather.onWritten(this, io.numBlocks);
  }
}

/** Consecutive writes of a stream that will be one request to the level. */
class Run implements RaidIoOwner {
  stream: Stream | null = null;
  offsetBlocks = 0;
  numBlocks = 0;
  flags = 0;
  /** The writes in order, linked by their `driverContext`. */
  first: BdevIo | null = null;
  last: BdevIo | null = null;
  /** Address of the merged data; -1 while it has not been copied. */
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
 * Merges consecutive writes within a stripe of a level with parity. A write that begins at the end of another one in progress
 * waits until that one is done, or until the waiting writes reach the end of the stripe. Other writes are sent at once. The
 * layers below see one write; if it fails, its writes are sent one by one, so that each gets a status of its own.
 */
export class WriteGather {
  readonly counts: GatheredWrites = { requests: 0, operations: 0, failed: 0 };
  readonly #array: IoHost;
  readonly #path: WritePath;
  readonly #streams: (Stream | null)[] = Array.from({ length: lists }, () => null);
  readonly #idleStreams: Stream[] = [];
  readonly #idleRuns: Run[] = [];
  #firstWaiting: Run | null = null;
  /** Runs that have begun: in progress at the level, or failed and not yet split. */
  readonly #atWork: Run[] = [];
  #pool: BufferPool | null = null;
  // State of the array when it was last examined.
  #membership = -1;
  #geometry: RaidGeometry | null = null;
  /** Number of array blocks that one write must not cross a multiple of; 0 if no writes are merged. */
  #unit = 0;
  #strip = 0;
  #mostBlocks = 0;

  constructor(array: IoHost, path: WritePath) {
    this.#array = array;
    this.#path = path;
  }

  /** Returns true if it accepted the write, which may then be merged; false if the caller must send it. */
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
    // The client of the write that was just started may have been notified at once, and may have continued the stream.
    if (stream.waiting !== null && stream.waiting.offsetBlocks + stream.waiting.numBlocks !== offsetBlocks)
      this.#startAlone(stream, parent);
    else {
      const run = this.#append(stream, parent);
      if (this.#isComplete(run) || this.#canStart(stream, run)) this.#start(stream, run);
    }
    this.#leave(stream);
    return true;
  }

  /** Called before blocks are changed. Starts waiting writes that overlap them, so that these come first. */
  letGo(offsetBlocks: number, numBlocks: number): void {
    // While the array is stopping, waiting writes are processed when the writes in progress end.
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

  /** Frees the memory. No write may be in progress, and none may follow. */
  close(): void {
    this.#pool?.close();
    this.#pool = null;
    this.#geometry = null;
  }

  /** For {@link Stream}: this many blocks in progress at the level are done. */
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
    // Not every write of the run need have failed. They are retried in a later turn, because this may run within the call that
    // submitted one of them.
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
    // If no member can be lost, a failed part makes the data of absent members inconsistent in all columns of the write.
    if (array.module.redundancy !== 'parity' || array.canLose < 1) return;
    const { optimalIoBoundary = 0, splitOnBoundary = false, splitOnWriteUnit = false, stripe, writeUnitSize = 1 } = geometry;
    const unit = splitOnWriteUnit ? writeUnitSize : splitOnBoundary ? optimalIoBoundary : stripe.arrayBlocks;
    if (stripe.arrayBlocks % unit !== 0) return;
    this.#unit = unit;
    this.#strip = optimalIoBoundary;
    this.#mostBlocks = Math.min(unit, mostBytes / array.blockSize);
  }

  /** Returns the stream that continues at this block, removed from its list; null if there is none. */
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

  /** Whether the write, which begins at the end of the run, can be merged with it. */
  #fits(run: Run, { flags, numBlocks }: BdevIo): boolean {
    return run.flags === flags && run.numBlocks + numBlocks <= this.#mostBlocks;
  }

  #isComplete({ numBlocks, offsetBlocks }: Run): boolean {
    return (offsetBlocks + numBlocks) % this.#unit === 0 || numBlocks >= this.#mostBlocks;
  }

  /**
   * Whether the run can start. It can if nothing is in progress. It also can if little is in flight and half of that is
   * waiting, because two small writes take members no longer than one, unless they share columns of the stripe.
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

  /** Submits the waiting run to the level. */
  #start(stream: Stream, run: Run): void {
    stream.waiting = null;
    if (run.prev === null) this.#firstWaiting = run.next;
    else run.prev.next = run.next;
    if (run.next !== null) run.next.prev = run.prev;
    run.prev = null;
    run.next = null;
    const { first } = run;
    this.#atWork.push(run);
    // Checked again after the wait.
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

  /** Copies the data of the writes into one buffer. Returns false if there is none. */
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

  /** Sends each write separately. `status` is the status of the merged write if it failed. */
  #takeApart(run: Run, status: Status = Status.IoError): void {
    // A client that is notified at once may begin a write that overlaps the remaining ones.
    for (let io = run.first; io !== null; io = run.first) {
      run.first = nextOf(io);
      io.driverContext = null;
      // The write has timed out for the client, which may have written something else since.
      if (io.isUnwanted) io.complete(Status.Cancelled);
      // Sending it now would overwrite a later write that may have been acknowledged.
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
