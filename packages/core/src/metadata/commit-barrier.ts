import { Status } from '@raidkit/bdev';
import type { RaidIo } from '../level/raid-io.js';
import type { MembersHost } from '../members/host.js';

/** An array whose departures are recorded, and whose requests wait for that. */
export interface BarrierHost extends Pick<MembersHost, 'log' | 'logFields'> {
  readonly metadata: { readonly isEnabled: boolean; update(): Promise<void> };
  readonly io: { resume(io: RaidIo): void; finish(io: RaidIo, status: Status): void };
}

/**
 * Delays the acknowledgement of writes from the departure of a member until the survivors' superblocks record it on stable
 * media. If a crash came in between, the member would be taken for current although it missed those writes.
 */
export class CommitBarrier {
  readonly #array: BarrierHost;
  #isClosed = false;
  #isRecording = false;
  /** Number of departures. A superblock update records those that precede its start. */
  #departures = 0;
  #held: RaidIo[] = [];
  /** Writes that must not begin before the departure is recorded. */
  #delayed: RaidIo[] = [];
  #waiters: { resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(array: BarrierHost) {
    this.#array = array;
  }

  /** Writes are not acknowledged and, if there is a journal, not begun. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A member has left. */
  close(): void {
    if (!this.#array.metadata.isEnabled) return;
    this.#isClosed = true;
    this.#departures++;
    this.#record();
  }

  /** Returns true if the request's acknowledgement must wait; it is completed later. */
  holds(io: RaidIo): boolean {
    if (!this.#isClosed) return false;
    this.#held.push(io);
    // The last update may have failed, so each waiting write triggers another one.
    this.#record();
    return true;
  }

  /** Returns true if the write must wait before it goes to the level; it is resumed later. */
  delays(io: RaidIo): boolean {
    if (!this.#isClosed) return false;
    this.#delayed.push(io);
    this.#record();
    return true;
  }

  whenOpen(): Promise<void> {
    if (!this.#isClosed) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#record();
    });
  }

  #record(): void {
    if (this.#isRecording) return;
    this.#isRecording = true;
    const departures = this.#departures;
    this.#array.metadata.update().then(
      () => {
        this.#isRecording = false;
        if (departures === this.#departures) this.#open();
        else this.#record();
      },
      (error: unknown) => {
        this.#isRecording = false;
        if (departures === this.#departures) this.#refuse(error);
        else this.#record();
      },
    );
  }

  #open(): void {
    this.#isClosed = false;
    this.#release(Status.Ok, null);
  }

  /** No member could record the departure, so the writes that the departed member missed must fail. */
  #refuse(error: unknown): void {
    const fields = { ...this.#array.logFields(), err: error };
    this.#array.log.error(fields, 'the removal of a member could not be recorded on any other member: writes fail until it is');
    this.#release(Status.IoError, error);
  }

  #release(status: Status, error: unknown): void {
    const held = this.#held;
    const delayed = this.#delayed;
    const waiters = this.#waiters;
    this.#held = [];
    this.#delayed = [];
    this.#waiters = [];
    for (const io of held) this.#array.io.finish(io, status);
    for (const io of delayed) {
      if (status === Status.Ok) this.#array.io.resume(io);
      else this.#array.io.finish(io, status);
    }
    for (const { resolve, reject } of waiters) {
      if (status === Status.Ok) resolve();
      else reject(error);
    }
  }
}
