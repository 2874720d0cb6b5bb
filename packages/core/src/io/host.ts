import type { Bdev, JsonObject } from '@raidkit/bdev';
import type { JournalHost } from '../journal/host.js';
import type { Journal } from '../journal/journal.js';
import type { IoTimeouts } from '../members/io-timeouts.js';

/** An array that serves requests. */
export interface IoHost extends JournalHost {
  /** The level has thrown: the array cannot go on with it. */
  onLevelThrew(error: unknown): void;
  /** Has blocks of the slot's member rewritten from redundancy. */
  requestRepair(slot: number, memberOffsetBlocks: number, numBlocks: number): void;
  /** Something of these blocks of members is known to be damaged, and a crash now would forget it. */
  mustRecordDamage(memberOffset: number, numBlocks: number): boolean;
  readonly journal: Journal | null;
  readonly io: JournalHost['io'] & {
    physicalDevices(): readonly string[];
  };
  readonly answers: IoTimeouts;
  /** Whether reads that lie wholly on one member may go there without a request of the level's. */
  readonly routesReads: boolean;
  /** Whether writes that follow one another may come to a level with parity as one. */
  readonly gathersWrites: boolean;
  /** The volume's bdev while online. */
  readonly bdev: Bdev | null;
  /** As `bdev_get_bdevs` shows the array under `raid`. */
  describe(): JsonObject;
  /** The call that makes the array again; null if its superblocks do. */
  describeConfig(): { method: string; params: JsonObject } | null;
}
