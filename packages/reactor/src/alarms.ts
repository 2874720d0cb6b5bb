import { RingOp } from '@raidkit/sys';
import type { Ring, RingOwner, Sys } from '@raidkit/sys';

/** What a reactor can be woken for. */
export const Alarm = {
  /** There has been no work for a while, so the event loop gets a turn. */
  Linger: 0,
  /** A timer of the runtime is due. */
  Timer: 1,
  /** Ends the longest sleep, so that the counter of the watchdog moves. */
  Heartbeat: 2,
} as const;
export type Alarm = (typeof Alarm)[keyof typeof Alarm];

const alarmCount = 3;

/**
 * Wakes a sleeping ring at set times. Each alarm is a timeout operation that stays in the kernel. A timeout on each sleep would
 * instead set and stop the processor's timer every time, which is expensive in a virtual machine.
 */
export class Alarms implements RingOwner {
  /** Alarms that have gone off since the reactor reset this: bit n is set for alarm n. */
  rung = 0;
  /** Number of alarms, of any kind, that have gone off since the reactor reset this. */
  count = 0;
  readonly #ring: Ring;
  readonly #owner: number;
  // One struct __kernel_timespec per alarm. The kernel reads it when the operation is submitted.
  readonly #times = new Uint32Array(new ArrayBuffer(16 * alarmCount));
  readonly #timesAddr: number;
  /** Time at which each alarm goes off, on the runtime's clock in milliseconds; Infinity if it is not set. */
  readonly #setFor = new Float64Array(alarmCount).fill(Infinity);

  constructor(ring: Ring, sys: Sys) {
    this.#ring = ring;
    this.#owner = ring.addOwner(this, true);
    this.#timesAddr = sys.addressOf(this.#times);
  }

  /**
   * Sets the alarm to go off at `at`, unless it is already set for that time or earlier. Call it at most once per alarm between
   * two enters, since both calls would use the same timespec. An alarm that is brought forward also goes off at its old time.
   * Returns whether an operation was prepared.
   */
  set(alarm: Alarm, now: number, at: number): boolean {
    if ((this.#setFor[alarm] ?? Infinity) <= at) return false;
    this.#setFor[alarm] = at;
    const ms = Math.max(0, at - now);
    const seconds = Math.floor(ms / 1000);
    this.#times[alarm * 4] = seconds;
    this.#times[alarm * 4 + 2] = (ms - seconds * 1000) * 1e6;
    this.#ring.prepare(RingOp.TIMEOUT, -1, 0, this.#timesAddr + alarm * 16, 1, 0, this.#owner, alarm);
    return true;
  }

  onCompletion(tag: number): void {
    this.count++;
    this.rung |= 1 << tag;
    this.#setFor[tag] = Infinity;
  }
}
