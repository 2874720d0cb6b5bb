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
  /** Ask for huge pages for it. Default true. */
  hugePages?: boolean;
  /** How long to look for completions before going to sleep, in microseconds; 0 for not at all. Default 100. */
  spinMicroseconds?: number;
  /** Default: nothing is logged. */
  log?: Logger;
  ring?: RingOptions;
  /** A counter that moves at least once a second while the reactor is alive, for a watchdog in another thread. */
  beat?: Int32Array;
}

/** A busy reactor gives the event loop a turn this often in a pause of the work, and this often whatever happens, in milliseconds. */
const betweenTurnsMs = 2;
const mostBetweenTurnsMs = 10;
/** A while without work before the event loop's turn, in milliseconds: the next request usually comes sooner. */
const lingerMs = 1;
/** Longest sleep while a timer of Node's is set, in milliseconds: it does not say for when. */
const longestTimerSleepMs = 8;
/** With more operations of devices in flight than this, it is their number that counts and not how soon one of them is noticed. */
const mostDeviceOpsToSpin = 4;
/** The event loop has a turn after such a while at the latest, in milliseconds, although nothing shows that it has something to do. */
const longestRestMs = 4000;
/** Longest sleep. */
const heartbeatMs = 1000;
const hugePageBytes = 2 * 1024 * 1024;
/** The global of this name is looked up anew at each use, which takes longer than to read the clock. */
const clock = performance;
const silent = (): void => undefined;
const noLog: Logger = { debug: silent, info: silent, warn: silent, error: silent };

/** Makes a reactor for the calling thread; or says why there can be none, for a log line. It runs from `start` on. */
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
    return { reactor: null, reason: "Node's event loop cannot be found in /proc" };
  }
  const memory = new BufferMemory({ bytes: options.memoryBytes ?? 256 * 1024 * 1024 });
  if (options.hugePages !== false) {
    // Whole huge pages only; whether the system gives them is up to it.
    const start = sys.addressOf(memory.u8);
    const first = Math.ceil(start / hugePageBytes) * hugePageBytes;
    const end = Math.floor((start + memory.bytes) / hugePageBytes) * hugePageBytes;
    if (end > first) sys.madvise(first, end - first, MemoryAdvice.HUGEPAGE);
  }
  return { reactor: new Reactor(ring, sys, eventLoopFd, memory, options), reason: '' };
}

/**
 * One thread's loop around one ring. The thread sleeps in the ring. Completions, timers and what was put off are dealt with
 * in batches; Node's event loop is a guest that has its turn when it has something to do (its epoll descriptor is polled by
 * the ring), and when a promise was settled from inside a batch. So everything of Node's works in this thread.
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
  // Never shortened: an array that is cut to length 0 is thrown away, and made anew by the next push.
  #soon: ((() => void) | null)[] = [];
  #running: ((() => void) | null)[] = [];
  #soonCount = 0;
  /**
   * The time of the present batch: the clock is read once for all of its I/O. Begins as null so that V8 keeps each number in an
   * object of its own, made once a batch, and does not make another one for each caller.
   */
  #now: number | null = null;
  /** Turns of the event loop to be given before the next sleep. */
  #owedTurns = 0;
  #isPolling = false;
  /** Completions of the present batch that only said that the event loop wants its turn. */
  #loopWakes = 0;
  #hasSettled = false;
  /** The event loop has had its turn since something was done. */
  #isQuiet = false;
  #lastWorkAt = 0;
  /** Longest sleep while there is nothing to do; below 0 if that is to be found out. */
  #quietSleepMs = -1;
  /**
   * Longest sleep before the next turn, in milliseconds. It doubles with each turn: a turn may begin to watch a descriptor
   * without a trace that shows here, and the kernel is told at the turn after it. So that is late by no longer than the thread
   * had been idle.
   */
  #restMs = lingerMs;
  /** When the alarm for that was set. */
  #lingersSince = 0;
  /** Milliseconds in which the thread slept, and in which it did not, since the start. */
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
    // The reactor is alive until it is stopped, whatever timers there are.
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

  /** Takes the thread over: from now on it sleeps in the ring, and is alive until {@link stop}. */
  start(): void {
    this.#startedAt = clock.now();
    this.#runQueueWait.open();
    this.#stopHook = promiseHooks.onSettled(() => {
      this.#hasSettled = true;
    }) as () => void;
    this.#pollEventLoop();
    setImmediate(this.#step);
  }

  /** Gives the thread back to Node's event loop and closes the ring. All users of the ring must have ended before. */
  stop(): Promise<void> {
    this.#stopped ??= new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    return this.#stopped;
  }

  /** How long the thread has slept in the ring since the start, and how long not, in milliseconds. Looking for more counts as awake. */
  get load(): { readonly awakeMs: number; readonly asleepMs: number } {
    return { awakeMs: Math.max(0, clock.now() - this.#startedAt - this.#asleepMs), asleepMs: this.#asleepMs };
  }

  onCompletion(): void {
    this.#isPolling = false;
    this.#restMs = lingerMs;
    this.#loopWakes++;
    // What the first turn begins to watch is watched from the second one on.
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
      // Also if something threw: that is for the process to judge.
      setImmediate(this.#step);
    }
  };

  /** Works and sleeps until the event loop is to have its turn. */
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
        // It may be so again at each turn. What was prepared has to go, and what has ended shows only after an enter.
        ring.enter(0);
        return;
      }
      const sleepsAt = clock.now();
      ring.enter(1);
      // Also the time of the batch that begins: where the clock is a system call it takes as long as the enter itself.
      now = clock.now();
      this.#asleepMs += now - sleepsAt;
    }
  }

  /** Whether nothing was done for a while, or for long: then it is the event loop's turn. */
  #isLingeringOver(didWork: boolean): boolean {
    const { rung } = this.#alarms;
    if (rung === 0) return false;
    this.#alarms.rung = 0;
    if ((rung & (1 << Alarm.Linger)) === 0 || didWork || this.#lastWorkAt > this.#lingersSince) return false;
    if (this.#isQuiet) this.#restMs = Math.min(2 * this.#restMs, longestRestMs);
    this.#isQuiet = true;
    return true;
  }

  /** Before a sleep. False if the event loop has something to do that it does not show. */
  #setAlarms(now: number): boolean {
    const { nextAt } = this.#timers;
    if (nextAt < Infinity) this.#alarms.set(Alarm.Timer, now, nextAt);
    this.#alarms.set(Alarm.Heartbeat, now, now + heartbeatMs);
    // What the event loop has to do that it does not show changes only with its turns, and with work.
    if (this.#isQuiet && this.#quietSleepMs < 0) this.#quietSleepMs = this.#longestSleepMs();
    const most = this.#isQuiet ? this.#quietSleepMs : lingerMs;
    if (most === 0) return false;
    if (this.#alarms.set(Alarm.Linger, now, now + most)) this.#lingersSince = now;
    return true;
  }

  #wantsTurn(): boolean {
    return this.#owedTurns > 0 || this.#hasSettled || this.#onStopped !== null;
  }

  /** Everything that can be done now. Returns how much that was, without the notes that the event loop wants its turn. */
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
      // If one threw, the others have their turn all the same.
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

  /** Timers and immediates of Node's own do not show in its epoll descriptor. */
  #longestSleepMs(): number {
    const resources = process.getActiveResourcesInfo();
    if (resources.includes('Immediate')) return 0;
    return resources.includes('Timeout') ? Math.min(this.#restMs, longestTimerSleepMs) : this.#restMs;
  }
}
