import type { Bdev, JsonObject } from '@raidkit/bdev';
import type { JournalHost } from '../journal/host.js';
import type { Journal } from '../journal/journal.js';
import type { RaidIo } from '../level/raid-io.js';
import type { IoTimeouts } from '../members/io-timeouts.js';

/** An array that serves requests. */
export interface IoHost extends JournalHost {
  readonly journal: Journal | null;
  readonly io: JournalHost['io'] & {
    /** Hands the level a request of core's own: blocks of a slot's member, from the others. `io.owner` is told. */
    reconstruct(io: RaidIo): void;
    physicalDevices(): readonly string[];
  };
  readonly answers: IoTimeouts;
  /** The volume's bdev while online. */
  readonly bdev: Bdev | null;
  /** As `bdev_get_bdevs` shows the array under `raid`. */
  describe(): JsonObject;
  /** The call that makes the array again; null if its superblocks do. */
  describeConfig(): { method: string; params: JsonObject } | null;
}
