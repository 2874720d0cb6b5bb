import type { Bdev } from '@raidkit/bdev';

/**
 * Which devices are looked at for superblocks when they appear. What a device holds that clients write to is theirs: a
 * superblock there is data, and must not bring an array about, nor hand the device to one. Volumes are looked at if their own array
 * says that they are members (`packages/core/src/membership/nesting.ts`), or the configuration does.
 */
export class ExaminePolicy {
  /** SPDK's `bdev_auto_examine`. */
  isAutomatic = true;
  #unexamined: ReadonlySet<string> = new Set();
  readonly #declared = new Set<string>();

  /** Names, aliases or uuids of devices that the configuration has for something else. */
  set unexamined(names: readonly string[]) {
    this.#unexamined = new Set(names);
  }

  mayExamine(bdev: Bdev): boolean {
    return this.isAutomatic && !this.holdsData(bdev);
  }

  /** The configuration says that clients write to the device. */
  holdsData(bdev: Bdev): boolean {
    return namesOf(bdev).some((one) => this.#unexamined.has(one));
  }

  /** The configuration is about to have a device of this name examined: until then it is nothing but a member. */
  declare(name: string): void {
    this.#declared.add(name);
  }

  /** It has been examined. */
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
