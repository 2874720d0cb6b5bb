import { RaidError } from './errors.js';

/** Where an array is in its life, as embedders and RPC clients see it. */
export type RaidState = 'configuring' | 'online' | 'offline';

/** Where an array is in its life. */
export type ArrayPhase =
  /** Only its creation gives it members. */
  | 'creating'
  /** It waits for members, or to be started. */
  | 'configuring'
  | 'starting'
  | 'online'
  /** Its I/O is being ended. */
  | 'stopping'
  /** Its volume is gone for good. It may still hold members. */
  | 'offline';

/** ECANCELED: errno of what was called off because the array ends. */
const cancelled = 125;

/**
 * The life of one array, and the only place where its phase changes:
 *
 *     creating → configuring ⇄ starting → online → stopping → offline
 *
 * A start that fails or is called off leads back to `configuring`; all else leads forward. Transitions exclude each other. An
 * array that is to end begins nothing new, and its end waits for what is under way; that asks {@link mustGoOn} after each of
 * its awaits.
 */
export class Lifecycle {
  readonly #name: string;
  #phase: ArrayPhase = 'configuring';
  #isEnding = false;
  #creation: Promise<void> | null = null;
  #start: Promise<void> | null = null;
  /** Why the start that is under way is called off; null if it is not. */
  #calledOff: string | null = null;
  #stop: Promise<void> | null = null;
  #end: Promise<void> | null = null;
  /** Starts and joins that are under way. */
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

  /** The array is to be deleted, or put together anew: it takes up nothing any more. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Its creation has not returned yet. */
  get isBeingCreated(): boolean {
    return this.#creation !== null;
  }

  /** Throws ECANCELED if the array is to end, or the start that is under way has been called off. */
  mustGoOn(): void {
    const why = this.#isEnding ? 'it is being stopped or deleted' : this.#calledOff;
    if (why !== null) throw new RaidError('ERR_RAID_BUSY', cancelled, `array ${this.#name}: called off: ${why}`);
  }

  /** Runs a creation, and `undo` if that fails. `make` says {@link isComposed} when the members that are there have joined. */
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
   * Runs a start, which says {@link isUp} in the turn in which the volume is there; to be called while the phase is
   * `configuring`. Rejects as `work` does, with the phase `configuring` again.
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

  /** Resolves when no start is under way. */
  async whenStartEnded(): Promise<void> {
    await this.#start;
  }

  /** Has a start that is under way fail at its next step. Resolves when it has ended, in vain or before it was called off. */
  async callOffStart(reason: string): Promise<void> {
    if (this.#start === null) return;
    this.#calledOff ??= reason;
    await this.#start;
  }

  /** Ends I/O, once: a later call waits for the same end. The phase is `stopping` at once, `offline` in the end. */
  stop(work: () => Promise<void>): Promise<void> {
    if (this.#stop === null) {
      this.#phase = 'stopping';
      this.#stop = work().finally(() => {
        this.#phase = 'offline';
      });
    }
    return this.#stop;
  }

  /** Counts work that the end of the array has to wait for. */
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
   * Ends the array for good, once: from now on it takes up nothing, and `work` begins when nothing is under way. A creation is
   * waited for too. A later call waits for the same end.
   */
  end(work: () => Promise<void>): Promise<void> {
    this.#isEnding = true;
    this.#end ??= this.#endNow(work);
    return this.#end;
  }

  /** Resolves when no start and no join is under way. */
  async whenIdle(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  async #endNow(work: () => Promise<void>): Promise<void> {
    await this.#creation;
    await this.whenIdle();
    await work();
  }
}
