import { randomBytes } from 'node:crypto';
import { promiseHooks } from 'node:v8';
import type { Logger, Runtime } from '@raidkit/bdev';
import { BufferMemory } from '@raidkit/parity';
import { MemoryAdvice, RingOp, loadSys, openRing, pollIn, whyNoSys } from '@raidkit/sys';
import type { Ring, RingOptions, RingOwner, Sys } from '@raidkit/sys';
import { Alarm, Alarms } from './alarms.js';
import { findEventLoopFd } from './event-loop.js';
import { RunQueueWait } from './run-queue-wait.js';
import { Spin } from './spin.js';
import { TimerQueue } from './timers.js';
import type { Timer } from './timers.js';

/** Options of {@link openReactor}. */
export interface ReactorOptions {
  /** Size of the buffer memory in bytes. Default 256 MiB. */
  memoryBytes?: number;
  /** Request huge pages for the buffer memory. Default true. */
  hugePages?: boolean;
  /** How long to poll for completions before sleeping, in microseconds; 0 to sleep at once. Default 100. */
  spinMicroseconds?: number;
  /** Default: nothing is logged. */
  log?: Logger;
  ring?: RingOptions;
  /** Element 0 is incremented at least once a second while the reactor is alive, for a watchdog in another thread. */
  beat?: Int32Array;
}

/** A busy reactor gives the event loop a turn after this many milliseconds if the work pauses. */
const betweenTurnsMs = 2;
/** A busy reactor gives the event loop a turn after this many milliseconds even if the work does not pause. */
const mostBetweenTurnsMs = 10;
/**
 * Milliseconds without work before the event loop gets a turn. It does not get one at once, because the next request usually
 * comes sooner.
 */
const lingerMs = 1;
/** Longest sleep while one of Node's timers is set, in milliseconds. Node does not tell when it is due. */
const longestTimerSleepMs = 8;
/**
 * The thread does not spin with more device operations in flight than this: throughput then depends on how many there are, not
 * on how soon one completion is noticed.
 */
const mostDeviceOpsToSpin = 4;
/** The event loop gets a turn at least this often, in milliseconds, although nothing shows that it has something to do. */
const longestRestMs = 4000;
/** Longest sleep, in milliseconds. */
const heartbeatMs = 1000;
const hugePageBytes = 2 * 1024 * 1024;
/** Looking up the global `performance` at each use takes longer than reading the clock. */
const clock = performance;
const silent = (): void => undefined;
const noLog: Logger = { debug: silent, info: silent, warn: silent, error: silent };

/**
 * Creates a reactor for the calling thread, or returns the reason why there can be none, for a log line. The reactor does
 * nothing until `start` is called.
 */
export async function openReactor(
  options: ReactorOptions = {},
): Promise<{ reactor: Reactor; reason: '' } | { reactor: null; reason: string }> {
  const sys = loadSys();
  if (sys === null) return { reactor: null, reason: whyNoSys() };
  const { ring, reason } = openRing(options.ring);
  if (ring === null) return { reactor: null, reason };
  const eventLoopFd = await findEventLoopFd(sys);
  if (eventLoopFd < 0) {
    ring.close();
    return { reactor: null, reason: 'the event loop of Node.js cannot be found in /proc' };
  }
  const memory = new BufferMemory({ bytes: options.memoryBytes ?? 256 * 1024 * 1024 });
  if (options.hugePages !== false) {
    // Advises only the whole huge pages in the memory. The kernel decides whether it provides them.
    const start = sys.addressOf(memory.u8);
    const first = Math.ceil(start / hugePageBytes) * hugePageBytes;
    const end = Math.floor((start + memory.bytes) / hugePageBytes) * hugePageBytes;
    if (end > first) sys.madvise(first, end - first, MemoryAdvice.HUGEPAGE);
  }
  return { reactor: new Reactor(ring, sys, eventLoopFd, memory, options), reason: '' };
}

/**
 * One thread's loop around one ring. The thread sleeps in the ring and handles completions, timers and deferred functions in
 * batches. The ring also polls the epoll descriptor of Node's event loop; the event loop gets a turn when that is readable, and
 * when a promise was settled in a batch. So all of Node's functions work in this thread.
 */
export class Reactor implements RingOwner {
  readonly ring: Ring;
  readonly runtime: Runtime;
  readonly #eventLoopFd: number;
  readonly #owner: number;
  readonly #alarms: Alarms;
  readonly #runQueueWait = new RunQueueWait();
  readonly #spin: Spin;
  readonly #beat: Int32Array;
  readonly #timers = new TimerQueue();
  // These arrays are never shortened: V8 drops the storage of an array whose length is set to 0, and the next push allocates it
  // anew.
  #soon: ((() => void) | null)[] = [];
  #running: ((() => void) | null)[] = [];
  #soonCount = 0;
  /**
   * The time of the current batch. The clock is read once for all I/O of the batch. The field starts as null, so that V8
   * allocates a number object once per batch, on assignment, and not once per reader.
   */
  #now: number | null = null;
  /** Turns that the event loop must get before the next sleep. */
  #owedTurns = 0;
  #isPolling = false;
  /** Completions of the current batch that only report that the event loop has something to do. */
  #loopWakes = 0;
  #hasSettled = false;
  /** The event loop has had a turn since the last work. */
  #isQuiet = false;
  #lastWorkAt = 0;
  /** Longest sleep while there is nothing to do, in milliseconds; negative until it has been determined. */
  #quietSleepMs = -1;
  /**
   * Longest sleep before the event loop's next turn, in milliseconds. A turn may start to watch a descriptor without any sign
   * of it here, and the kernel learns of it only in the following turn. The time doubles with each idle turn, so that this
   * delay is at most as long as the thread had been idle.
   */
  #restMs = lingerMs;
  /** Time at which the `Linger` alarm was last set. */
  #lingersSince = 0;
  /** Milliseconds that the thread has slept in the ring since `#startedAt`. */
  #asleepMs = 0;
  #startedAt = 0;
  #stopHook: (() => void) | null = null;
  #onStopped: (() => void) | null = null;
  #stopped: Promise<void> | null = null;

  constructor(ring: Ring, sys: Sys, eventLoopFd: number, memory: BufferMemory, options: ReactorOptions) {
    this.ring = ring;
    this.#eventLoopFd = eventLoopFd;
    this.#owner = ring.addOwner(this, true);
    this.#alarms = new Alarms(ring, sys);
    this.#spin = new Spin((options.spinMicroseconds ?? 100) / 1000, this.#runQueueWait);
    this.#beat = options.beat ?? new Int32Array(1);
    // `setWatchTimer` is the same as `setTimer`, since the reactor stays alive until it is stopped, whatever timers are set.
    const setTimer: Runtime['setTimer'] = (fn, ms) => this.#timers.add(fn, clock.now() + ms);
    this.runtime = {
      now: () => this.#now ?? clock.now(),
      wallClock: () => Date.now(),
      setTimer,
      setWatchTimer: setTimer,
      clearTimer: (timer) => this.#timers.cancel(timer as Timer),
      soon: (fn) => {
        this.#soon[this.#soonCount++] = fn;
      },
      randomBytes: (count) => randomBytes(count),
      log: options.log ?? noLog,
      memory,
    };
  }

  /** Starts the loop in the calling thread, which sleeps in the ring from now on and stays alive until {@link stop}. */
  start(): void {
    this.#startedAt = clock.now();
    this.#runQueueWait.open();
    this.#stopHook = promiseHooks.onSettled(() => {
      this.#hasSettled = true;
    }) as () => void;
    this.#pollEventLoop();
    setImmediate(this.#step);
  }

  /**
   * Ends the loop and closes the ring; Node's event loop then runs alone in the thread again. All users of the ring must have
   * finished before.
   */
  stop(): Promise<void> {
    this.#stopped ??= new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    return this.#stopped;
  }

  /** Milliseconds that the thread has slept in the ring and has been awake since the start. Spinning counts as awake. */
  get load(): { readonly awakeMs: number; readonly asleepMs: number } {
    return { awakeMs: Math.max(0, clock.now() - this.#startedAt - this.#asleepMs), asleepMs: this.#asleepMs };
  }

  onCompletion(): void {
    this.#isPolling = false;
    this.#restMs = lingerMs;
    this.#loopWakes++;
    // The loop registers a descriptor with epoll only in the turn after the one that starts to watch it.
    this.#owedTurns = 2;
  }

  readonly #step = (): void => {
    if (this.#onStopped !== null) {
      this.#stopHook?.();
      this.#runQueueWait.close();
      this.ring.close();
      this.#onStopped();
      return;
    }
    try {
      this.#untilTurn();
    } finally {
      // The loop continues even if something threw; the process decides what to do about the exception.
      setImmediate(this.#step);
    }
  };

  /** Works and sleeps until it is time for a turn of the event loop. */
  #untilTurn(): void {
    const { ring } = this;
    if (this.#owedTurns > 0) this.#owedTurns--;
    this.#hasSettled = false;
    this.#quietSleepMs = -1;
    let now = clock.now();
    const since = now;
    let hasWorked = false;
    for (;;) {
      Atomics.add(this.#beat, 0, 1);
      this.#now = now;
      const didWork = this.#work(now) > 0;
      if (didWork) {
        hasWorked = true;
        this.#isQuiet = false;
        this.#quietSleepMs = -1;
        this.#restMs = lingerMs;
        this.#lastWorkAt = now;
        this.#spin.worked(now);
      }
      const isTurn = hasWorked && now - since >= (didWork ? mostBetweenTurnsMs : betweenTurnsMs);
      if (isTurn || this.#wantsTurn()) {
        if (this.#owedTurns === 0) this.#pollEventLoop();
        ring.flushPostponed();
        if (ring.hasPrepared) ring.enter(0);
        return;
      }
      this.#pollEventLoop();
      if (this.#soonCount > 0 || (ring.deviceOps <= mostDeviceOpsToSpin && this.#spin.goesOn(now))) {
        ring.enter(0);
        now = clock.now();
        continue;
      }
      const mustTurn = this.#isLingeringOver(didWork) || !this.#setAlarms(now);
      ring.flushPostponed();
      if (mustTurn) {
        // This may repeat at each turn, so prepared operations are submitted here; and completions show only after an enter.
        ring.enter(0);
        return;
      }
      const sleepsAt = clock.now();
      ring.enter(1);
      // The same reading is the time of the next batch. Where the clock is a system call, reading it takes as long as the
      // enter.
      now = clock.now();
      this.#asleepMs += now - sleepsAt;
    }
  }

  /**
   * Returns whether the `Linger` alarm has gone off and there was no work since it was set: the event loop then gets a turn.
   */
  #isLingeringOver(didWork: boolean): boolean {
    const { rung } = this.#alarms;
    if (rung === 0) return false;
    this.#alarms.rung = 0;
    if ((rung & (1 << Alarm.Linger)) === 0 || didWork || this.#lastWorkAt > this.#lingersSince) return false;
    if (this.#isQuiet) this.#restMs = Math.min(2 * this.#restMs, longestRestMs);
    this.#isQuiet = true;
    return true;
  }

  /** Sets the alarms for a sleep. Returns false if the event loop has something to do that its descriptor does not show. */
  #setAlarms(now: number): boolean {
    const { nextAt } = this.#timers;
    if (nextAt < Infinity) this.#alarms.set(Alarm.Timer, now, nextAt);
    this.#alarms.set(Alarm.Heartbeat, now, now + heartbeatMs);
    // What the descriptor does not show changes only in turns of the event loop and through work.
    if (this.#isQuiet && this.#quietSleepMs < 0) this.#quietSleepMs = this.#longestSleepMs();
    const most = this.#isQuiet ? this.#quietSleepMs : lingerMs;
    if (most === 0) return false;
    if (this.#alarms.set(Alarm.Linger, now, now + most)) this.#lingersSince = now;
    return true;
  }

  #wantsTurn(): boolean {
    return this.#owedTurns > 0 || this.#hasSettled || this.#onStopped !== null;
  }

  /**
   * Does everything that can be done now. Returns how many things that were, not counting alarms and wake-ups for the event
   * loop.
   */
  #work(now: number): number {
    const { ring } = this;
    this.#loopWakes = this.#alarms.count = 0;
    let count = ring.drain();
    count -= this.#loopWakes + this.#alarms.count;
    count += this.#timers.run(now);
    count += this.#runSoon();
    count += ring.flush();
    return count;
  }

  #runSoon(): number {
    const count = this.#soonCount;
    if (count === 0) return 0;
    const batch = this.#soon;
    this.#soon = this.#running;
    this.#running = batch;
    this.#soonCount = 0;
    let done = 0;
    try {
      while (done < count) {
        const fn = batch[done];
        batch[done++] = null;
        fn?.();
      }
    } finally {
      // If a function threw, the others run in the next batch.
      for (; done < count; done++) {
        const fn = batch[done];
        if (fn) this.runtime.soon(fn);
        batch[done] = null;
      }
    }
    return count;
  }

  #pollEventLoop(): void {
    if (this.#isPolling) return;
    this.#isPolling = true;
    this.ring.prepare(RingOp.POLL_ADD, this.#eventLoopFd, 0, 0, 0, pollIn, this.#owner, 0);
  }

  /** Node's own timers and immediates do not make its epoll descriptor readable. */
  #longestSleepMs(): number {
    const resources = process.getActiveResourcesInfo();
    if (resources.includes('Immediate')) return 0;
    return resources.includes('Timeout') ? Math.min(this.#restMs, longestTimerSleepMs) : this.#restMs;
  }
}
