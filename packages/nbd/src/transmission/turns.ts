import type { Runtime } from '@raidkit/bdev';

/** A connection counts as busy in the period of this many milliseconds in which it starts a request, and in the next. */
const epochMs = 2;
/** Units of work that all busy connections together may start in one turn of the thread. A request without data is one unit. */
const unitsPerTurn = 64;
/** Units that each of them may start, however many they are. */
const leastUnits = 4;
/** Moving this many bytes of data costs as much as one more unit. */
const bytesPerUnit = 16 * 1024;

/**
 * Divides the turns of a thread among the connections that have work. Otherwise the server would start everything that one
 * client has sent before it looks at another client's only request, which would then also wait for the kernel to carry all of
 * that out.
 */
export class Turns {
  readonly runtime: Pick<Runtime, 'now' | 'soon'>;
  #epoch = 0;
  #busy = 0;
  #busyBefore = 0;

  constructor(runtime: Pick<Runtime, 'now' | 'soon'>) {
    this.runtime = runtime;
  }

  /**
   * Notes that a connection starts work. `lastEpoch` is the result of its previous call, so that it counts once per epoch.
   * Returns the current epoch.
   */
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

  /** Number of units that each busy connection may start in a turn. */
  get share(): number {
    const busy = Math.max(this.#busy, this.#busyBefore);
    return busy > 1 ? Math.max(leastUnits, unitsPerTurn / busy) : Infinity;
  }
}

/** The work that one connection starts in a turn. */
export class ConnectionTurn {
  /** The connection has used up its share and continues in a later turn. */
  isOver = false;
  readonly #turns: Turns;
  readonly #onNext: () => void;
  #at = -1;
  #epoch = -1;
  #left = 0;

  /** `onNext` is called in a later turn after the share of a turn has been used up. */
  constructor(turns: Turns, onNext: () => void) {
    this.#turns = turns;
    this.#onNext = onNext;
  }

  /** Returns whether another request may be started now. If not, `onNext` will be called. */
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

  /** Counts a request with this many bytes of data as started. */
  begun(bytes: number): void {
    this.#left -= 1 + bytes / bytesPerUnit;
  }

  /** Skips one turn, so that the kernel first gets what was prepared in this one and other connections are served. */
  readonly #afterThis = (): void => this.#turns.runtime.soon(this.#next);

  readonly #next = (): void => {
    this.isOver = false;
    this.#onNext();
  };
}
