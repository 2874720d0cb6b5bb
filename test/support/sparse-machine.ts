import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { AssemblyOptions, RaidArray, SuperblockStore } from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { Random, SimDisk, SimMemory, World } from '@raidkit/testkit';
import type { CutMode, Life } from '@raidkit/testkit';
import { memberUuid } from './rig.js';

/** What everything that was never written reads as. */
export const junk = 0xdb;
const memory = new SimMemory({ bytes: 48 << 20 });

/** A machine with simulated disks that take memory only where they are written to, so that they may be huge; in virtual time. */
export class SparseMachine {
  readonly world = new World(1);
  readonly disks: SimDisk[];
  registry!: BdevRegistry;
  arrays!: RaidArrays;
  #life: Life = { isDead: false };

  constructor(sizes: readonly number[], from?: SparseMachine) {
    this.disks = sizes.map((bytes, index) => {
      const random = new Random(1, 10 + index);
      if (from?.disks[index] !== undefined) return from.disks[index].copyTo(this.world, random);
      return new SimDisk(this.world, random, {
        name: `m${index}`,
        uuid: memberUuid(index),
        blockSize: 512,
        numBlocks: bytes / 512,
        latency: { leastMs: 0.01, meanMs: 0.01 },
        hasWriteCache: true,
        hasForceUnitAccess: false,
        fill: junk,
      });
    });
  }

  /** Another machine with copies of the disks; one at a time is up. */
  copy(): SparseMachine {
    return new SparseMachine(
      this.disks.map(({ numBlocks }) => numBlocks * 512),
      this,
    );
  }

  /** A new process, which looks at all disks, or at these. */
  async boot(
    options: { store?: SuperblockStore; disks?: readonly number[]; assembly?: Partial<AssemblyOptions> } = {},
  ): Promise<void> {
    this.#life = { isDead: false };
    memory.reset();
    this.registry = new BdevRegistry(this.world.runtime(this.#life, memory));
    const modules = new RaidModuleRegistry();
    for (const module of [raid1, raid5f, raid6]) modules.register(module);
    const { store = spdkSuperblockStore, assembly = {} } = options;
    this.arrays = new RaidArrays({ registry: this.registry, modules, store, assembly });
    for (const index of options.disks ?? this.disks.keys()) await this.plugIn(index);
    await this.until(this.registry.waitForExamine());
  }

  plugIn(index: number): Promise<void> {
    return this.until(this.registry.register(this.disks[index]!.plugIn(memory, this.#life)));
  }

  /** Resolves when all users have closed the disk. */
  unplug(index: number): Promise<void> {
    return this.until(this.registry.unregister(this.registry.get(this.disks[index]!.name)!));
  }

  create(level: string, baseBdevs: string[]): Promise<RaidArray> {
    const strip = level === 'raid1' ? {} : { stripSizeKb: 64 };
    return this.until(this.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...strip }));
  }

  get array(): RaidArray {
    const array = this.arrays.get('a');
    if (array === undefined) throw new Error('there is no array');
    return array;
  }

  openVolume(): BlockClient {
    return new BlockClient(this.registry.open('a', { writable: true }));
  }

  /** Lets the world go on until the promise is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const counted = promise.finally(() => {
      isOver = true;
    });
    counted.catch(() => undefined);
    const end = await this.world.run(() => isOver, { maxMs: 1e6, maxSteps: 1e7 });
    if (end !== 'done') throw this.world.failure ?? new Error(`the simulation ended: ${end}`);
    return counted;
  }

  /** Lets time pass. */
  sleep(ms: number): Promise<void> {
    return this.until(this.world.sleep(ms));
  }

  /** Cuts the power. */
  cut(mode: CutMode): void {
    this.#life.isDead = true;
    for (const disk of this.disks) {
      disk.onSubmit = null;
      disk.powerCut(mode);
    }
  }
}
