import { BlockClient } from '@raidkit/bdev';
import type { LevelOptions, RaidArray, RaidModule, SuperblockStore } from '@raidkit/core';
import { Random } from '../random.js';
import { SimDisk } from '../sim-disk.js';
import type { SimMemory } from '../sim-memory.js';
import { fillSectors, sectorBytes } from '../sector.js';
import { Stack } from '../stack.js';
import { World } from '../world.js';

/** The level under test, its options and its superblock store. */
export interface BenchParts {
  module: RaidModule;
  store: SuperblockStore;
  levelOptions: LevelOptions;
  memory: SimMemory;
}

const dataKib = 64;
const blockSize = 512;
const stripSizeKb = 4;

/** Small disks on which an array is made, used, stopped and assembled again, by one process after another. */
export class Bench {
  readonly world: World;
  readonly disks: SimDisk[];
  readonly arrayName: string;
  stack: Stack;
  readonly #parts: BenchParts;

  constructor(parts: BenchParts, numDisks: number, { seed = 1, arrayName = 'assembled' } = {}) {
    this.#parts = parts;
    this.arrayName = arrayName;
    this.world = new World(seed);
    const numBlocks = (parts.store.reservedBytes + dataKib * 1024) / blockSize;
    this.disks = Array.from({ length: numDisks }, (_, index) => this.newDisk(index, numBlocks));
    this.stack = this.boot();
  }

  newDisk(index: number, numBlocks: number): SimDisk {
    return new SimDisk(this.world, new Random(1, 10 + index), {
      name: `d${index}`,
      uuid: `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`,
      blockSize,
      numBlocks,
      latency: { leastMs: 0.01, meanMs: 0.01 },
      hasWriteCache: false,
      hasForceUnitAccess: true,
      fill: 0,
    });
  }

  get array(): RaidArray {
    const array = this.stack.arrays.get(this.arrayName);
    if (array === undefined) throw new Error('there is no array');
    return array;
  }

  /** Starts a new process; the previous one, if any, is dead. */
  boot(): Stack {
    const { module, store, memory } = this.#parts;
    memory.reset();
    this.stack = new Stack(this.world, memory, module, store, () => undefined);
    this.stack.arrays.setProcessOptions({ windowSizeKb: 16 });
    return this.stack;
  }

  kill(): void {
    this.stack.die();
    for (const disk of this.disks) disk.processDied();
  }

  async create(): Promise<void> {
    await this.plugIn(this.disks);
    const { levelOptions: options, module } = this.#parts;
    const { level, manifest } = module;
    const strip = manifest.stripSize === 'required' ? { stripSizeKb } : {};
    const baseBdevs = this.disks.map(({ name }) => name);
    await this.stack.arrays.create({ name: this.arrayName, level, baseBdevs, superblock: true, options, ...strip });
  }

  async plugIn(disks: readonly SimDisk[]): Promise<void> {
    for (const disk of disks) await this.stack.plugIn(disk);
    await this.stack.registry.waitForExamine();
  }

  /** Starts a new process with these disks, and the array even if some are missing. */
  async assemble(disks: readonly SimDisk[] = this.disks): Promise<void> {
    this.boot();
    await this.plugIn(disks);
    if (this.array.state !== 'online') await this.stack.arrays.startDegraded(this.arrayName);
  }

  async stop(): Promise<void> {
    await this.stack.arrays.stop();
    this.stack.die();
  }

  /** Fills the whole volume with data that identifies this epoch, and flushes. */
  async write(epoch: number): Promise<void> {
    const descriptor = this.stack.registry.open(this.arrayName, { writable: true });
    const client = new BlockClient(descriptor);
    const words = new Int32Array((client.numBlocks * blockSize) / 4);
    fillSectors(words, 0, 0, (client.numBlocks * blockSize) / sectorBytes, epoch);
    await client.write(0, new Uint8Array(words.buffer));
    await client.flush();
    descriptor.close();
  }
}

/** Runs the steps in virtual time. Rejects with their error, or if no event is left. */
export async function inVirtualTime<T>(world: World, steps: () => Promise<T>): Promise<T> {
  let end: { value: T } | { error: Error } | null = null;
  steps().then(
    (value) => {
      end = { value };
    },
    (error: unknown) => {
      end = { error: error instanceof Error ? error : new Error(String(error)) };
    },
  );
  const how = await world.run(() => end !== null, { maxMs: 3600_000, maxSteps: 1_000_000 });
  if (world.failure !== null) throw world.failure;
  const found = end as { value: T } | { error: Error } | null;
  if (found === null) throw new Error(`nothing goes on any more (${how}): something was never answered`);
  if ('error' in found) throw found.error;
  return found.value;
}
