import type { Runtime } from '@raidkit/bdev';

/** A connection that has had work so lately counts as busy, in milliseconds. */
const epochMs = 2;
/** What all busy connections may begin in one turn of their thread: so many requests without data, or the like. */
const unitsPerTurn = 64;
/** What each of them may, however many there are. */
const leastUnits = 4;
/** To move so many bytes takes about as long as a request does beside. */
const bytesPerUnit = 16 * 1024;

/**
 * Shares a thread's turns among the connections that have work. All that one client has sent would else be begun before another
 * one's only request is looked at: it waits for the rest of the turn, and then for the kernel to carry all of that out.
 */
export class Turns {
  readonly runtime: Pick<Runtime, 'now' | 'soon'>;
  #epoch = 0;
  #busy = 0;
  #busyBefore = 0;

  constructor(runtime: Pick<Runtime, 'now' | 'soon'>) {
    this.runtime = runtime;
  }

  /** A connection begins something, for the first time in this epoch if that is not `lastEpoch`. Returns the epoch. */
  note(now: number, lastEpoch: number): number {
    const epoch = Math.floor(now / epochMs);
    if (epoch !== this.#epoch) {
      this.#busyBefore = epoch === this.#epoch + 1 ? this.#busy : 0;
      this.#busy = 0;
      this.#epoch = epoch;
    }
    if (lastEpoch !== epoch) this.#busy++;
    return epoch;
  }

  /** What one of the busy connections may begin in a turn. */
  get share(): number {
    const busy = Math.max(this.#busy, this.#busyBefore);
    return busy > 1 ? Math.max(leastUnits, unitsPerTurn / busy) : Infinity;
  }
}

/** What one connection begins in a turn. */
export class ConnectionTurn {
  /** It has had its share, and goes on in a later turn. */
  isOver = false;
  readonly #turns: Turns;
  readonly #onNext: () => void;
  #at = -1;
  #epoch = -1;
  #left = 0;

  /** `onNext` is called in a later turn once the share of one is used up. */
  constructor(turns: Turns, onNext: () => void) {
    this.#turns = turns;
    this.#onNext = onNext;
  }

  /** Whether another request may be begun now. If not, `onNext` will be called. */
  mayBegin(): boolean {
    if (this.isOver) return false;
    const now = this.#turns.runtime.now();
    if (now !== this.#at) {
      this.#at = now;
      this.#epoch = this.#turns.note(now, this.#epoch);
      this.#left = this.#turns.share;
    }
    if (this.#left > 0) return true;
    this.isOver = true;
    this.#turns.runtime.soon(this.#afterThis);
    return false;
  }

  /** A request of so many bytes has been begun. */
  begun(bytes: number): void {
    this.#left -= 1 + bytes / bytesPerUnit;
  }

  /** What is put off now has its turn when the kernel has been given what this one has prepared, and others have been served. */
  readonly #afterThis = (): void => this.#turns.runtime.soon(this.#next);

  readonly #next = (): void => {
    this.isOver = false;
    this.#onNext();
  };
}
