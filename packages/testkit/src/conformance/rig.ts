import assert from 'node:assert/strict';
import { IoType, Status, statusName } from '@raidkit/bdev';
import { maxMissing } from '@raidkit/core';
import type { LevelOptions, RaidArray, RaidGeometry, RaidModule, SuperblockStore } from '@raidkit/core';
import { VolumeModel } from '../model.js';
import { Random } from '../random.js';
import { checkRedundancy } from '../redundancy.js';
import { acceptedSlots, losable } from '../slots.js';
import { SimDisk } from '../sim-disk.js';
import type { CutMode } from '../disk-faults.js';
import { SimMemory } from '../sim-memory.js';
import { sectorBytes } from '../sector.js';
import { Stack } from '../stack.js';
import { VolumeClient, died } from '../volume-client.js';
import type { Outcome } from '../volume-client.js';
import { World } from '../world.js';

/** What a case is run on. */
export interface ConformanceOptions {
  module: RaidModule;
  store: SuperblockStore;
  /** Options of the level that every array has. Default: none. */
  levelOptions?: LevelOptions;
  /** Default 1. */
  seed?: number;
}

/** How a case sets up its array. */
export interface RigOptions {
  /** Default: the fewest that the level takes, and at least 2. */
  numSlots?: number;
  numSpares?: number;
  /** KiB of data a member has room for; one for each member, or the same for all. Default 1200. */
  dataKib?: number | readonly number[];
  blockSize?: number;
  stripSizeKb?: number;
  windowSizeKb?: number;
}

export const arrayName = 'conformance';
const memoryBytes = 64 * 1024 * 1024;
const patienceMs = 10 * 60_000;

/** An array on simulated disks, its users' model, and the means to do it harm. Every case has one of its own. */
export class Rig {
  readonly module: RaidModule;
  readonly levelOptions: LevelOptions;
  readonly world: World;
  readonly random: Random;
  readonly disks: SimDisk[];
  readonly numSlots: number;
  readonly model = new VolumeModel();
  readonly memory = new SimMemory({ bytes: memoryBytes });
  stack: Stack;
  volume: VolumeClient | null = null;
  readonly #store: SuperblockStore;
  readonly #options: RigOptions;
  #wrong: string | null = null;

  constructor({ levelOptions = {}, module, store, seed = 1 }: ConformanceOptions, options: RigOptions = {}) {
    this.module = module;
    this.levelOptions = levelOptions;
    this.#store = store;
    this.#options = options;
    this.world = new World(seed);
    this.random = new Random(seed, 2);
    this.numSlots = options.numSlots ?? acceptedSlots(module, 2, levelOptions);
    const { blockSize = 512, dataKib = 1200, numSpares = 0 } = options;
    this.disks = Array.from({ length: this.numSlots + numSpares }, (_, index) => {
      const kib = typeof dataKib === 'number' ? dataKib : (dataKib[index] ?? 1200);
      return new SimDisk(this.world, new Random(seed, 10 + index), {
        name: `m${index}`,
        uuid: `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`,
        blockSize,
        numBlocks: ((1024 + kib) * 1024) / blockSize,
        latency: { leastMs: 0.1, meanMs: 0.5 },
        hasWriteCache: true,
        hasForceUnitAccess: index % 2 === 0,
        fill: module.redundancy !== 'none' && store.extension !== undefined ? 0xdb : 0,
      });
    });
    this.stack = this.#newStack();
  }

  get array(): RaidArray {
    const array = this.stack.arrays.get(arrayName);
    if (array === undefined) throw new Error('there is no array');
    return array;
  }

  /** The array's, which has been started. */
  get geometry(): RaidGeometry {
    const { currentGeometry } = this.array;
    if (currentGeometry === null) throw new Error('the level has not been started');
    return currentGeometry;
  }

  /** How many members the array may lose, if they are the right ones. */
  get spareMembers(): number {
    return maxMissing(this.module, this.numSlots, this.levelOptions);
  }

  /** Slots that it may lose together, as many as there are, from this one on. */
  losable(first: number): number[] {
    return losable(this.module, this.numSlots, first, this.levelOptions);
  }

  disk(index: number): SimDisk {
    const disk = this.disks[index];
    assert(disk !== undefined, `there is no disk ${index}`);
    return disk;
  }

  get client(): VolumeClient {
    assert(this.volume !== null, 'the volume is not there');
    return this.volume;
  }

  /** Creates the array on the first disks, in order. */
  async create(): Promise<void> {
    await Promise.all(this.disks.map((disk) => this.stack.plugIn(disk)));
    const { stripSizeKb = 4 } = this.#options;
    await this.stack.arrays.create({
      name: arrayName,
      level: this.module.level,
      baseBdevs: this.disks.slice(0, this.numSlots).map(({ name }) => name),
      superblock: true,
      options: this.levelOptions,
      ...(this.module.manifest.stripSize === 'required' ? { stripSizeKb } : {}),
    });
    this.open();
  }

  /** Sends a request; what was read is checked. */
  async io(type: IoType, offset: number, count: number, flags = 0): Promise<Outcome> {
    const outcome = await this.client.submit(type, offset, count, flags);
    this.check();
    return outcome;
  }

  /** Sends a request that must succeed. */
  async ok(type: IoType, offset: number, count: number, flags = 0): Promise<void> {
    const outcome = await this.io(type, offset, count, flags);
    assert.equal(
      statusName(outcome),
      'OK',
      `${['read', 'write', 'unmap', 'flush', 'write zeroes'][type] ?? 'I/O'} of ${count} blocks at ${offset}`,
    );
  }

  flush(): Promise<void> {
    return this.ok(IoType.Flush, 0, this.client.numBlocks);
  }

  /** Reads the whole volume; every block must be what the model says. */
  async readAll(): Promise<void> {
    const { numBlocks, blockSize } = this.client;
    const most = (64 * 1024) / blockSize;
    for (let at = 0; at < numBlocks; at += most) await this.ok(IoType.Read, at, Math.min(most, numBlocks - at));
  }

  /** So many random requests, one after another; no error is right. */
  async load(ops: number, types: readonly IoType[] = [IoType.Write, IoType.Write, IoType.Read]): Promise<void> {
    for (let left = ops; left > 0; left--) {
      const { numBlocks } = this.client;
      const count = this.random.int(1, Math.min(24, numBlocks));
      const zone = this.random.pick([0, 0.3, 0.5, 0.99]);
      const offset = Math.min(Math.floor(zone * numBlocks) + this.random.int(0, 24), numBlocks - count);
      await this.ok(this.random.pick(types), offset, count);
    }
  }

  /** Several {@link load}s side by side. */
  loads(clients: number, ops: number, types?: readonly IoType[]): Promise<unknown> {
    const all = Promise.all(Array.from({ length: clients }, () => this.load(ops, types)));
    // Whoever lets it run beside something else looks at it later.
    all.catch(() => undefined);
    return all;
  }

  /** What redundancy holds must agree with the data. */
  checkRedundancy(): void {
    const problem = checkRedundancy(this.array, this.disks);
    assert.equal(problem, null, problem ?? '');
  }

  /** Waits for something that must happen. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = this.world.now + patienceMs;
    while (!condition()) {
      assert(this.world.now < deadline, `it did not come to pass: ${what}`);
      await this.world.sleep(5);
    }
  }

  /** Nobody asks for anything until regions that were written to count as idle, and are on record as such. */
  idle(): Promise<void> {
    return this.world.sleep(12_000);
  }

  /** Takes the slot's member out, as an operator does. */
  async remove(index: number): Promise<void> {
    await this.stack.arrays.removeBaseBdev(this.disk(index).name);
  }

  /** Puts a disk into the empty slot, and waits until it holds everything. */
  async rebuild(index: number): Promise<void> {
    await this.stack.arrays.addBaseBdev(arrayName, this.disk(index).name);
    await this.rebuilt(index);
  }

  async rebuilt(index: number): Promise<void> {
    await this.until(`${this.disk(index).name} is current`, () => this.isCurrent(index) && this.array.process === null);
    await this.array.processEnded;
  }

  isCurrent(index: number): boolean {
    return this.array.slots.some((slot) => slot.name === this.disk(index).name && slot.isInSync);
  }

  /** Ends the array cleanly, and the process. */
  async stop(): Promise<void> {
    await this.stack.arrays.stop();
    assert.equal(this.stack.arrays.iosOutstanding, 0, 'RAID I/O objects are out after a stop');
    assert.equal(this.stack.registry.ios.outstanding, 0, 'I/O objects are out after a stop');
    this.#die();
  }

  /** The power fails. */
  powerCut(mode: CutMode): void {
    this.#die();
    for (const disk of this.disks) disk.powerCut(mode);
    this.model.powerCut();
  }

  /** A new process, with all disks but those. Starts degraded if need be, and waits until the volume is there. */
  async assemble(absent: readonly number[] = []): Promise<void> {
    this.stack = this.#newStack();
    const there = this.disks.filter((_, index) => !absent.includes(index));
    await Promise.all(there.map((disk) => this.stack.plugIn(disk)));
    if (this.array.state === 'configuring') await this.stack.arrays.startDegraded(arrayName);
    this.open();
  }

  /** Waits until nothing is left to be made to agree. */
  async resynced(): Promise<void> {
    await this.until('everything agrees', () => this.array.process === null && (this.array.bitmap?.resyncsDue ?? 0) === 0);
  }

  open(): void {
    const { registry } = this.stack;
    const descriptor = registry.open(arrayName, {
      writable: true,
      onEvent: (event) => {
        if (event.type !== 'remove') return;
        volume.close();
        if (this.volume === volume) this.volume = null;
      },
    });
    const volume = new VolumeClient(
      this.world,
      registry,
      descriptor,
      this.model,
      () => true,
      ({ sector, found, allowed }, what) => {
        const held = found < 0 ? 'what nobody wrote' : `write ${found}`;
        this.#wrong ??= `${what}: sector ${sector} (of ${sectorBytes} bytes) holds ${held}; right are ${allowed.join(', ')}`;
      },
    );
    this.volume = volume;
  }

  /** Fails if any read so far returned what it must not. */
  check(): void {
    assert.equal(this.#wrong, null, this.#wrong ?? '');
  }

  #newStack(): Stack {
    const stack = new Stack(this.world, this.memory, this.module, this.#store, () => undefined);
    stack.arrays.processOptions.windowSizeKb = this.#options.windowSizeKb ?? 64;
    return stack;
  }

  #die(): void {
    this.stack.die();
    this.volume?.die();
    this.volume = null;
    this.model.readsForgotten();
    for (const disk of this.disks) if (disk.inFlight > 0) disk.processDied();
    this.memory.reset();
  }
}

export { IoType, Status, died };

/** Runs a case's steps in virtual time. Rejects with whatever went wrong, or that nothing goes on any more. */
export async function inWorld(rig: Rig, steps: (rig: Rig) => Promise<void>): Promise<void> {
  let end: { error: Error | null } | null = null;
  steps(rig).then(
    () => {
      end = { error: null };
    },
    (error: unknown) => {
      end = { error: error instanceof Error ? error : new Error(String(error)) };
    },
  );
  const how = await rig.world.run(() => end !== null, { maxMs: 24 * 3600_000, maxSteps: 5_000_000 });
  rig.stack.die();
  if (how === 'failed' && rig.world.failure !== null) throw rig.world.failure;
  const found = end as { error: Error | null } | null;
  if (found === null) throw new Error(`nothing goes on any more (${how}): a request or a call was never answered`);
  if (found.error !== null) throw found.error;
  rig.check();
}
