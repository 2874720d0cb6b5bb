import { Status } from '@raidkit/bdev';
import { RaidError } from './errors.js';

/** State of an array as embedders and RPC clients see it. */
export type RaidState = 'configuring' | 'online' | 'offline';

/** Phase in the life of an array. */
export type ArrayPhase =
  /** Only its creation can add members. */
  | 'creating'
  /** It waits for members, or for a start. */
  | 'configuring'
  | 'starting'
  | 'online'
  /** Its I/O is being drained. */
  | 'stopping'
  /** Its volume is permanently gone. It may still hold members. */
  | 'offline';

/**
 * The life of one array. Only this class changes its phase:
 *
 *     creating → configuring ⇄ starting → online → stopping → offline
 *
 * A start that fails or is cancelled leads back to `configuring`; all other transitions lead forward. Transitions exclude each
 * other. An array that is ending begins nothing new, and its end waits for work in progress, which must call {@link mustGoOn}
 * after each await.
 */
export class Lifecycle {
  readonly #name: string;
  #phase: ArrayPhase = 'configuring';
  #isEnding = false;
  #creation: Promise<void> | null = null;
  #start: Promise<void> | null = null;
  /** Why the running start is cancelled; null if it is not. */
  #calledOff: string | null = null;
  #stop: Promise<void> | null = null;
  #end: Promise<void> | null = null;
  /** Starts and joins in progress. */
  readonly #work = new Set<Promise<void>>();

  constructor(name: string) {
    this.#name = name;
  }

  get phase(): ArrayPhase {
    return this.#phase;
  }

  get state(): RaidState {
    if (this.#phase === 'online') return 'online';
    return this.#phase === 'stopping' || this.#phase === 'offline' ? 'offline' : 'configuring';
  }

  /** The array is being deleted or reassembled, so it must not begin anything new. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Its creation has not returned yet. */
  get isBeingCreated(): boolean {
    return this.#creation !== null;
  }

  /** Throws ECANCELED if the array is ending or the running start has been cancelled. */
  mustGoOn(): void {
    const why = this.#isEnding ? 'it is being stopped or deleted' : this.#calledOff;
    if (why !== null) throw new RaidError('ERR_RAID_BUSY', Status.Cancelled, `array ${this.#name}: cancelled: ${why}`);
  }

  /** Runs a creation, and `undo` if it fails. `make` calls {@link isComposed} when all available members have joined. */
  async create(make: () => Promise<void>, undo: () => Promise<void>): Promise<void> {
    this.#phase = 'creating';
    const creation = make().catch(async (error: unknown) => {
      this.#isEnding = true;
      await undo();
      throw error;
    });
    this.#creation = creation
      .catch(() => undefined)
      .finally(() => {
        this.#creation = null;
      });
    await creation;
  }

  isComposed(): void {
    if (this.#phase === 'creating') this.#phase = 'configuring';
  }

  /**
   * Runs a start; call it only in the phase `configuring`. `work` calls {@link isUp} in the turn in which the volume appears.
   * Rejects as `work` does, with the phase `configuring` again.
   */
  async start(work: () => Promise<void>): Promise<void> {
    this.mustGoOn();
    this.#phase = 'starting';
    const start = work().catch((error: unknown) => {
      if (this.#phase === 'starting') this.#phase = 'configuring';
      throw error;
    });
    this.#start = start
      .catch(() => undefined)
      .finally(() => {
        this.#start = null;
        this.#calledOff = null;
      });
    await this.whileBusy(start);
  }

  isUp(): void {
    this.#phase = 'online';
  }

  /** Resolves when no start is in progress. */
  async whenStartEnded(): Promise<void> {
    await this.#start;
  }

  /** Makes a running start fail at its next step. Resolves when it has ended, which may be with success. */
  async callOffStart(reason: string): Promise<void> {
    if (this.#start === null) return;
    this.#calledOff ??= reason;
    await this.#start;
  }

  /**
   * Runs `work`, which ends I/O, once: later calls return the same promise. The phase is `stopping` at once, and `offline` when
   * it is done.
   */
  stop(work: () => Promise<void>): Promise<void> {
    if (this.#stop === null) {
      this.#phase = 'stopping';
      this.#stop = work().finally(() => {
        this.#phase = 'offline';
      });
    }
    return this.#stop;
  }

  /** Registers work that the end of the array must wait for. */
  async whileBusy<T>(work: Promise<T>): Promise<T> {
    const counted = work.then(
      () => undefined,
      () => undefined,
    );
    this.#work.add(counted);
    try {
      return await work;
    } finally {
      this.#work.delete(counted);
    }
  }

  /**
   * Ends the array permanently, once: later calls return the same promise. From now on the array begins nothing new; `work`
   * runs when its creation, starts and joins have ended.
   */
  end(work: () => Promise<void>): Promise<void> {
    this.#isEnding = true;
    this.#end ??= this.#endNow(work);
    return this.#end;
  }

  /** Resolves when no start or join is in progress. */
  async whenIdle(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  async #endNow(work: () => Promise<void>): Promise<void> {
    await this.#creation;
    await this.whenIdle();
    await work();
  }
}
