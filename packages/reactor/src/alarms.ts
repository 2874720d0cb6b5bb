import { RingOp } from '@raidkit/sys';
import type { Ring, RingOwner, Sys } from '@raidkit/sys';

/** What a reactor is woken for. */
export const Alarm = {
  /** Nothing has been done for a while: the event loop's turn. */
  Linger: 0,
  /** A timer of the runtime's. */
  Timer: 1,
  /** It is alive. */
  Heartbeat: 2,
} as const;
export type Alarm = (typeof Alarm)[keyof typeof Alarm];

const alarmCount = 3;

/**
 * Wakes a sleeping ring at set times. Each is an operation of the ring that stays in the kernel: to give every sleep a limit
 * of its own would mean to set and to stop the processor's timer for each, which a virtual machine pays for dearly.
 */
export class Alarms implements RingOwner {
  /** Alarms that went off since the reactor looked: bits by number. */
  rung = 0;
  /** How many that were, of whatever kind. */
  count = 0;
  readonly #ring: Ring;
  readonly #owner: number;
  // A struct __kernel_timespec each, which the kernel reads when the operation is handed over.
  readonly #times = new Uint32Array(new ArrayBuffer(16 * alarmCount));
  readonly #timesAddr: number;
  /** When each goes off; Infinity for those that are not set. */
  readonly #setFor = new Float64Array(alarmCount).fill(Infinity);

  constructor(ring: Ring, sys: Sys) {
    this.#ring = ring;
    this.#owner = ring.addOwner(this, true);
    this.#timesAddr = sys.addressOf(this.#times);
  }

  /**
   * Has the alarm go off at `at`, or earlier if it is set for earlier. To be called at most once between two enters for each
   * alarm. One that is brought forward goes off at its old time too, once. Returns whether it had to be set.
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
