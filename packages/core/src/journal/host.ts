import type { BufferMemory } from '@raidkit/parity';
import type { MappedHost } from '../bitmap/mapped-host.js';
import type { RaidIo, RaidIoPool, RequestSink } from '../level/raid-io.js';

/** An array that keeps a journal, or has one to replay. */
export interface JournalHost extends MappedHost {
  readonly ios: RaidIoPool;
  readonly memory: BufferMemory;
  /** No write is begun now: the array is not up, or a departure is being recorded. */
  readonly areWritesHeld: boolean;
  /** The members that the array has now are as many as its level needs. */
  readonly hasEnough: boolean;
  readonly io: RequestSink &
    MappedHost['io'] & {
      /** Hands the level a request of core's own. `io.owner` is told. */
      submitOwn(io: RaidIo): void;
    };
}
