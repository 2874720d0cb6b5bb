import { BdevError, BdevRegistry, Status } from '@raidkit/bdev';
import type { Bdev, Examiner, Runtime } from '@raidkit/bdev';
import type { NameTable } from './shared-names.js';

/**
 * A registry in which names, aliases and uuids of devices are unique in the whole daemon; a duplicate is refused as within one
 * registry.
 */
export class SharedRegistry extends BdevRegistry {
  readonly #names: NameTable;
  readonly #unexamined = new Set<string>();

  constructor(runtime: Runtime, names: NameTable) {
    super(runtime);
    this.#names = names;
    this.addListener({ onUnregistered: (bdev) => this.#release(namesOf(bdev)) });
  }

  override register(bdev: Bdev): Promise<void> {
    const taken: string[] = [];
    try {
      for (const name of namesOf(bdev)) {
        if (!this.#names.take(`bdev ${name}`)) {
          throw new BdevError('ERR_BDEV_EXISTS', Status.Exists, `bdev ${bdev.name}: the name, alias or uuid ${name} is taken`);
        }
        taken.push(name);
      }
      return super.register(bdev);
    } catch (error) {
      this.#release(taken);
      throw error;
    }
  }

  /** While `work` runs, a device of this name is not examined, because another registry has done that. */
  async withoutExamining<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#unexamined.add(name);
    try {
      return await work();
    } finally {
      this.#unexamined.delete(name);
    }
  }

  override addExaminer(examiner: Examiner): void {
    super.addExaminer((bdev) => (this.#unexamined.has(bdev.name) ? undefined : examiner(bdev)));
  }

  #release(names: readonly string[]): void {
    for (const name of names) this.#names.release(`bdev ${name}`);
  }
}

/** Names by which a device is found: its name first, then uuid and aliases. */
export function namesOf(bdev: Bdev): string[] {
  return [...new Set([bdev.name, bdev.uuid, ...bdev.aliases])];
}
