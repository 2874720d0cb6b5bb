import type { BufferMemory } from '@raidkit/parity';
import type { MappedHost } from '../bitmap/mapped-host.js';
import type { RaidIo, RaidIoPool, RequestSink } from '../level/raid-io.js';

/** An array that keeps a journal, or has one to replay. */
export interface JournalHost extends MappedHost {
  readonly ios: RaidIoPool;
  readonly memory: BufferMemory;
  /** No write may begin: the array is not online, or a departure is being recorded. */
  readonly areWritesHeld: boolean;
  /** The array has enough members for its level. */
  readonly hasEnough: boolean;
  /**
   * Returns the slots whose blocks in this stripe are parity; none if the level has no parity. If the level throws or what it
   * returns cannot be right, the array goes offline, and this throws.
   */
  redundantSlots(stripe: number): readonly number[];
  readonly io: RequestSink &
    MappedHost['io'] & {
      /** Submits a request of core to the level. `io.owner` is notified when it is done. */
      submitOwn(io: RaidIo): void;
    };
}
