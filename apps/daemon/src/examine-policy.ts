import type { Bdev } from '@raidkit/bdev';

/**
 * Which devices are looked at for superblocks when they appear. What a device holds that clients write to is theirs: a
 * superblock there is data, and must not bring an array about, nor hand the device to one.
 */
export class ExaminePolicy {
  /** SPDK's `bdev_auto_examine`. */
  isAutomatic = true;
  #unexamined: ReadonlySet<string> = new Set();

  /** Names, aliases or uuids of devices that the configuration has for something else. */
  set unexamined(names: readonly string[]) {
    this.#unexamined = new Set(names);
  }

  mayExamine({ name, uuid, aliases }: Bdev): boolean {
    return this.isAutomatic && ![name, uuid, ...aliases].some((one) => this.#unexamined.has(one));
  }
}
