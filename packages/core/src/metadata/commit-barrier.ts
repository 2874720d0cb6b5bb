import { Status } from '@raidkit/bdev';
import type { RaidIo } from '../level/raid-io.js';
import type { MembersHost } from '../members/host.js';

/** The array whose departures are recorded, and whose requests wait for that. */
export interface BarrierHost extends Pick<MembersHost, 'log' | 'logFields'> {
  readonly metadata: { readonly isEnabled: boolean; update(): Promise<void> };
  readonly io: { resume(io: RaidIo): void; finish(io: RaidIo, status: Status): void };
}

/**
 * Holds back the acknowledgement of writes while a member is out whose absence is not yet on the survivors' stable media:
 * after a crash it would be taken for current, without the writes that it missed.
 */
export class CommitBarrier {
  readonly #array: BarrierHost;
  #isClosed = false;
  #isRecording = false;
  /** Grows each time a member leaves; what is recorded covers only departures up to the round's start. */
  #departures = 0;
  #held: RaidIo[] = [];
  /** Writes that are not begun before the departure is recorded. */
  #delayed: RaidIo[] = [];
  #waiters: { resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(array: BarrierHost) {
    this.#array = array;
  }

  /** Writes are neither begun, where there is a journal, nor acknowledged. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** A member left. */
  close(): void {
    if (!this.#array.metadata.isEnabled) return;
    this.#isClosed = true;
    this.#departures++;
    this.#record();
  }

  /** True if the request waits here; it is finished later. */
  holds(io: RaidIo): boolean {
    if (!this.#isClosed) return false;
    this.#held.push(io);
    // The last attempt may have failed: each write that waits is a reason to try again.
    this.#record();
    return true;
  }

  /** True if the write waits here before the level gets it; it is resumed later. */
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

  /** No member could record that this one is out: the writes that it missed are not acknowledged. */
  #refuse(error: unknown): void {
    const fields = { ...this.#array.logFields(), err: error };
    this.#array.log.error(fields, 'a departure could not be recorded on any member: writes fail until it can');
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
