import type { Logger } from 'pino';
import { keyOf } from './call-keys.js';
import type { ConfigCall } from './config-file.js';
import type { StateFile } from './state-file.js';

/** Writes the configuration to the state file, if there is one, and logs failures. */
export class Saver {
  /** Levels whose arrays survive the loss of a member. */
  redundantLevels: ReadonlySet<string> = new Set();
  readonly #state: StateFile | null;
  readonly #log: Logger;
  /** Arrays that were logged as not saved. */
  readonly #left = new Set<string>();
  #error: string | null = null;

  constructor(state: StateFile | null, log: Logger) {
    this.#state = state;
    this.#log = log;
  }

  /** Why the last attempt to save failed; null if it did not. */
  get error(): string | null {
    return this.#error;
  }

  async save(calls: readonly ConfigCall[]): Promise<void> {
    const state = this.#state;
    if (state === null) return;
    try {
      await state.write(calls.filter((call) => call.method !== 'bdev_wait_for_examine' && this.#isKept(call)));
      if (this.#error !== null) this.#log.info({ path: state.path }, 'the state file can be written again');
      this.#error = null;
    } catch (error) {
      this.failed(error instanceof Error ? error.message : String(error));
    }
  }

  /** Logs that saving failed, once for each reason. */
  failed(error: string): void {
    if (error !== this.#error)
      this.#log.error(
        { path: this.#state?.path, reason: error },
        'the state file cannot be written: changes of the configuration are lost at the next start',
      );
    this.#error = error;
  }

  /**
   * Whether the call is saved. An array with redundancy but without superblocks goes on when a member fails, and until the file
   * is written again it would name that member as current: after a crash its stale data would be used.
   */
  #isKept(call: ConfigCall): boolean {
    const level = call.params?.raid_level;
    if (call.method !== 'bdev_raid_create' || (typeof level === 'string' && !this.redundantLevels.has(level))) return true;
    const key = keyOf(call);
    if (!this.#left.has(key))
      this.#log.warn(
        { call },
        'an array with redundancy and without superblocks is not saved: nothing records which of its members are in sync',
      );
    this.#left.add(key);
    return false;
  }
}
