import type { Bdev, JsonObject } from '@raidkit/bdev';
import type { JournalHost } from '../journal/host.js';
import type { Journal } from '../journal/journal.js';
import type { IoTimeouts } from '../members/io-timeouts.js';

/** An array that processes requests. */
export interface IoHost extends JournalHost {
  /** The level threw an exception, so the array must stop using it. */
  onLevelThrew(error: unknown): void;
  /** Requests a repair of blocks of the slot's member from redundancy. */
  requestRepair(slot: number, memberOffsetBlocks: number, numBlocks: number): void;
  /** Whether these blocks of members have known damage that a crash now would hide. */
  mustRecordDamage(memberOffset: number, numBlocks: number): boolean;
  readonly journal: Journal | null;
  readonly io: JournalHost['io'] & {
    physicalDevices(): readonly string[];
  };
  readonly answers: IoTimeouts;
  /** Whether core may send reads that lie on one member without a request to the level. */
  readonly routesReads: boolean;
  /** Whether core may merge consecutive writes for levels with parity. */
  readonly gathersWrites: boolean;
  /** The volume's bdev while the array is online; else null. */
  readonly bdev: Bdev | null;
  /** Returns the value that `bdev_get_bdevs` shows under `raid`. */
  describe(): JsonObject;
  /** Returns the RPC call that recreates the array; null if it is assembled from superblocks. */
  describeConfig(): { method: string; params: JsonObject } | null;
}
