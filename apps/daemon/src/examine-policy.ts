import type { Bdev } from '@raidkit/bdev';

/**
 * Decides which devices are examined for superblocks when they appear. A device that clients write to holds their data: a
 * superblock there must neither create an array nor make the device a member. Volumes are examined if their own array
 * (`packages/core/src/membership/nesting.ts`) or the configuration says that they are members.
 */
export class ExaminePolicy {
  /** Whether devices are examined when they appear: SPDK's `bdev_auto_examine`. */
  isAutomatic = true;
  #unexamined: ReadonlySet<string> = new Set();
  readonly #declared = new Set<string>();

  /** Names, aliases or uuids of devices that the configuration uses for something else. */
  set unexamined(names: readonly string[]) {
    this.#unexamined = new Set(names);
  }

  mayExamine(bdev: Bdev): boolean {
    return this.isAutomatic && !this.holdsData(bdev);
  }

  /** Whether, according to the configuration, clients write to the device. */
  holdsData(bdev: Bdev): boolean {
    return namesOf(bdev).some((one) => this.#unexamined.has(one));
  }

  /**
   * Declares that the configuration is about to examine a device of this name; until then it must not be used as anything but a
   * member.
   */
  declare(name: string): void {
    this.#declared.add(name);
  }

  /** Ends the declaration, once the device was examined. */
  undeclare(bdev: Bdev): void {
    for (const name of namesOf(bdev)) this.#declared.delete(name);
  }

  isDeclared(bdev: Bdev): boolean {
    return namesOf(bdev).some((one) => this.#declared.has(one));
  }
}

function namesOf({ name, uuid, aliases }: Bdev): string[] {
  return [name, uuid, ...aliases];
}
