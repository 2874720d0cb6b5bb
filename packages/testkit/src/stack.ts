import { BdevRegistry } from '@raidkit/bdev';
import type { Bdev } from '@raidkit/bdev';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { RaidArraysOptions, RaidEvent, RaidModule, SuperblockStore } from '@raidkit/core';
import type { BufferMemory } from '@raidkit/parity';
import type { SimDisk } from './sim-disk.js';
import type { Life, World } from './world.js';

/** What the composer decides. Default: as core has it. */
export type StackOptions = Pick<
  RaidArraysOptions,
  'assembly' | 'checksumCacheBytes' | 'members' | 'regions' | 'routesReads' | 'gathersWrites'
>;

/** One simulated process: everything that a program composes to run arrays. */
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

  /** The disk's device, while it is plugged in. */
  bdevOf(disk: SimDisk): Bdev | undefined {
    return this.#bdevs.get(disk);
  }

  /** Resolves when the disk has been examined. `path`: another one, whose name and uuid it has by configuration. */
  plugIn(disk: SimDisk, path: Pick<SimDisk, 'name' | 'uuid'> = disk): Promise<void> {
    const bdev = disk.plugIn(this.#memory, this.life, path);
    this.#bdevs.set(disk, bdev);
    return this.registry.register(bdev);
  }

  /** Resolves when all users have let go of the disk. */
  async pullOut(disk: SimDisk): Promise<void> {
    const bdev = this.#bdevs.get(disk);
    if (bdev === undefined) return;
    this.#bdevs.delete(disk);
    await this.registry.unregister(bdev);
  }

  /** Memory that arrays have taken, and not given back. */
  get takenBytes(): number {
    return this.#freeBytes - this.#memory.freeBytes;
  }

  die(): void {
    this.life.isDead = true;
  }
}
