import { BdevRegistry } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { RaidArraysOptions, RaidEvent, RaidModule, SuperblockStore } from '@raidkit/core';
import type { BufferMemory } from '@raidkit/parity';
import type { SimDisk } from './sim-disk.js';
import type { Life, World } from './world.js';

/** Options that the composer of a program chooses. Defaults are core's. */
export type StackOptions = Pick<
  RaidArraysOptions,
  'assembly' | 'checksumCacheBytes' | 'members' | 'regions' | 'routesReads' | 'gathersWrites'
>;

/** A simulated process: everything that a program composes to run arrays. */
export class Stack {
  readonly life: Life = { isDead: false };
  readonly registry: BdevRegistry;
  readonly arrays: RaidArrays;
  readonly #bdevs = new Map<SimDisk, Bdev>();
  readonly #memory: BufferMemory;
  readonly #freeBytes: number;

  constructor(
    world: World,
    memory: BufferMemory,
    modules: RaidModule | readonly RaidModule[],
    store: SuperblockStore,
    onEvent: (event: RaidEvent) => void,
    options: StackOptions = {},
  ) {
    this.#memory = memory;
    this.registry = new BdevRegistry(world.runtime(this.life, memory));
    this.#freeBytes = memory.freeBytes;
    const known = new RaidModuleRegistry();
    for (const module of [modules].flat()) known.register(module);
    this.arrays = new RaidArrays({ registry: this.registry, modules: known, store, ...options });
    this.arrays.on((event) => {
      if (!this.life.isDead) onEvent(event);
    });
  }

  /** Returns the disk's bdev while it is plugged in. */
  bdevOf(disk: SimDisk): Bdev | undefined {
    return this.#bdevs.get(disk);
  }

  /**
   * Plugs a disk in; resolves when it has been examined. `path`: another disk whose name and uuid this one has by
   * configuration.
   */
  plugIn(disk: SimDisk, path: Pick<SimDisk, 'name' | 'uuid'> = disk): Promise<void> {
    const bdev = disk.plugIn(this.#memory, this.life, path);
    this.#bdevs.set(disk, bdev);
    return this.registry.register(bdev);
  }

  /** Pulls a disk out; resolves when all its users have closed it. */
  async pullOut(disk: SimDisk): Promise<void> {
    const bdev = this.#bdevs.get(disk);
    if (bdev === undefined) return;
    this.#bdevs.delete(disk);
    await this.registry.unregister(bdev);
  }

  /** Bytes of memory that arrays have allocated and not freed. */
  get takenBytes(): number {
    return this.#freeBytes - this.#memory.freeBytes;
  }

  die(): void {
    this.life.isDead = true;
  }
}
