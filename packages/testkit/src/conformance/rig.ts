import assert from 'node:assert/strict';
import { IoType, Status, statusName } from '@raidkit/bdev';
import { maxMissing } from '@raidkit/core';
import type { LevelOptions, RaidArray, RaidEvent, RaidGeometry, RaidModule, SuperblockStore } from '@raidkit/core';
import { ClauseError } from './clauses.js';
import { VolumeModel } from '../model.js';
import { Random } from '../random.js';
import { LevelWatch } from '../level-tap/watch.js';
import { canCheckRedundancy, checkRedundancy, useRule } from '../redundancy.js';
import type { RedundancyRule } from '../redundancy.js';
import { acceptedSlots, losable, losableBeside } from '../slots.js';
import { SimDisk } from '../sim-disk.js';
import type { CutMode } from '../disk-faults.js';
import { SimMemory } from '../sim-memory.js';
import { sectorBytes } from '../sector.js';
import { Stack } from '../stack.js';
import { VolumeClient, died } from '../volume-client.js';
import type { Outcome } from '../volume-client.js';
import { World } from '../world.js';

/** The level that cases test, and their settings. */
export interface ConformanceOptions {
  module: RaidModule;
  store: SuperblockStore;
  /** Level options of every array. Default: none. */
  levelOptions?: LevelOptions;
  /**
   * Rule for a stripe's redundancy, where the kit does not know it: it knows copies, and assumes that single parity is the
   * exclusive or. Without this rule, other parity is checked by core's check process, which asks the level itself.
   */
  checkRedundancy?: RedundancyRule;
  /** Seed of the cases' random numbers. Default 1. */
  seed?: number;
  /** Maximum number of random requests of a case, to find the fewest that still fail. Default: no limit. */
  mostRequests?: number;
}

/** Settings of a case's array. */
export interface RigOptions {
  /** Default: the fewest that the level accepts, and at least 2; two more if it depends on which members are missing. */
  numSlots?: number;
  numSpares?: number;
  /** Data capacity in KiB, for each member or one for all. Default 1200. */
  dataKib?: number | readonly number[];
  blockSize?: number;
  stripSizeKb?: number;
  windowSizeKb?: number;
  /** Whether regions of the write-intent bitmap are as small as possible. */
  hasSmallRegions?: boolean;
  /** Whether background processes take longer than anything that a case does meanwhile. */
  isSlowBackground?: boolean;
  /** Whether reads may bypass the level (`routeRead`), in which case its requests are not watched. */
  isRouted?: boolean;
}

export const arrayName = 'conformance';
const memoryBytes = 64 * 1024 * 1024;
/** Memories of finished rigs, for reuse: making one and touching it for the first time takes as long as many a case. */
const idleMemories: SimMemory[] = [];
const timeLimitMs = 10 * 60_000;
const smallRegionBytes = 64 * 1024;
const slowMbSec = 0.05;

/** An array on simulated disks with a model of its contents, and functions that inject faults. Every case has its own. */
export class Rig {
  readonly module: RaidModule;
  readonly levelOptions: LevelOptions;
  readonly world: World;
  readonly random: Random;
  readonly disks: SimDisk[];
  readonly numSlots: number;
  readonly model = new VolumeModel();
  readonly memory = idleMemories.pop() ?? new SimMemory({ bytes: memoryBytes });
  stack: Stack;
  volume: VolumeClient | null = null;
  readonly #store: SuperblockStore;
  readonly #seed: number;
  readonly #options: RigOptions;
  readonly #watch: LevelWatch;
  #wrong: Error | null = null;
  #requestsLeft: number;
  #lastRequest = 'none';

  constructor(given: ConformanceOptions, options: RigOptions = {}) {
    const { levelOptions = {}, module, mostRequests = Infinity, store, seed = 1 } = given;
    this.#watch = new LevelWatch((error) => (this.#wrong ??= error));
    this.module = options.isRouted === true ? module : this.#watch.watched(module);
    if (given.checkRedundancy !== undefined) useRule(this.module, given.checkRedundancy);
    this.#requestsLeft = mostRequests;
    this.levelOptions = levelOptions;
    this.#store = store;
    this.#seed = seed;
    this.#options = options;
    this.world = new World(seed);
    this.random = new Random(seed, 2);
    this.numSlots = options.numSlots ?? usualSlots(given);
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

  /** Geometry of the array; throws if it was not started. */
  get geometry(): RaidGeometry {
    const { currentGeometry } = this.array;
    if (currentGeometry === null) throw new Error('the level has not been started');
    return currentGeometry;
  }

  /** Largest number of members that the array may lose, if they are the right ones. */
  get spareMembers(): number {
    return maxMissing(this.module, this.numSlots, this.levelOptions);
  }

  /** Returns slots that may be missing together, as many as possible, from this one on. */
  losable(first: number): number[] {
    return losable(this.module, this.numSlots, first, this.levelOptions);
  }

  /** Returns slots that may be missing together, as many as possible, without this one. */
  losableBeside(kept: number): number[] {
    return losableBeside(this.module, this.numSlots, kept, this.levelOptions);
  }

  /** Describes the array's state and last requests, for people. */
  describe(): string {
    const array = this.stack.arrays.get(arrayName);
    const slots = array?.slots.map(
      ({ isInSync, isRebuilding, name }) => `${String(name)}${isInSync ? '' : isRebuilding ? ' (being filled)' : ' (out)'}`,
    );
    const state = array === undefined ? 'there is none' : `${array.state}, slots ${(slots ?? []).join(', ')}`;
    const running = array?.process ?? null;
    const process = running === null ? '' : `, a ${running.type} at block ${running.offsetBlocks}`;
    const parts = this.#watch.parts.map((part) => `    ${part}`);
    return [
      `  array: ${state}${process}, of level ${this.module.level}, ${this.numSlots} slots, seed ${this.#seed}`,
      `  last request: ${this.#lastRequest}`,
      ...(parts.length === 0 ? [] : ['  last parts:', ...parts]),
    ].join('\n');
  }

  disk(index: number): SimDisk {
    const disk = this.disks[index];
    assert(disk !== undefined, `there is no disk ${index}`);
    return disk;
  }

  /** Whether the volume exists. */
  get isUp(): boolean {
    return this.volume !== null;
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

  /** Sends a request, and checks what it read. */
  async io(type: IoType, offset: number, count: number, flags = 0): Promise<Outcome> {
    const what = `${nameOf(type)} of ${count} blocks at ${offset}${flags === 0 ? '' : ', with forced unit access'}`;
    this.#lastRequest = `${what}, not answered`;
    const outcome = await this.client.submit(type, offset, count, flags);
    this.#lastRequest = `${what}, answered ${statusName(outcome)}`;
    this.check();
    return outcome;
  }

  /** Sends a request that must succeed. */
  async ok(type: IoType, offset: number, count: number, flags = 0): Promise<void> {
    const outcome = await this.io(type, offset, count, flags);
    const what = `${nameOf(type)} of ${count} blocks at ${offset}`;
    assert(outcome === Status.Ok, `a ${what} was answered ${statusName(outcome)}, with ${this.#membersInWords()}`);
  }

  /** Asserts that the outcome is allowed where more is broken than redundancy covers. */
  truth(outcome: Outcome, more: readonly Outcome[] = []): void {
    const isTruth = [Status.Ok, Status.IoError, Status.NoDevice, died, ...more].includes(outcome);
    assert(isTruth, `a request was answered ${statusName(outcome)}, with ${this.#membersInWords()}`);
  }

  #membersInWords(): string {
    const array = this.stack.arrays.get(arrayName);
    return array === undefined ? 'no array' : `${array.numInSync} of ${array.numSlots} members`;
  }

  flush(): Promise<void> {
    return this.ok(IoType.Flush, 0, this.client.numBlocks);
  }

  /** Reads the whole volume and checks every block against the model. */
  async readAll(): Promise<void> {
    const { numBlocks, blockSize } = this.client;
    const most = (64 * 1024) / blockSize;
    for (let at = 0; at < numBlocks; at += most) await this.ok(IoType.Read, at, Math.min(most, numBlocks - at));
  }

  /** Sends random requests, one after another; none may fail. */
  async load(ops: number, types: readonly IoType[] = [IoType.Write, IoType.Write, IoType.Read]): Promise<void> {
    for (let left = ops; left > 0 && this.#requestsLeft > 0; left--) {
      this.#requestsLeft--;
      const { numBlocks } = this.client;
      const count = this.random.int(1, Math.min(24, numBlocks));
      const zone = this.random.pick([0, 0.3, 0.5, 0.99]);
      const offset = Math.min(Math.floor(zone * numBlocks) + this.random.int(0, 24), numBlocks - count);
      await this.ok(this.random.pick(types), offset, count);
    }
  }

  /** Runs several {@link load}s in parallel. */
  loads(clients: number, ops: number, types?: readonly IoType[]): Promise<unknown> {
    const all = Promise.all(Array.from({ length: clients }, () => this.load(ops, types)));
    // A case may await it later, after other work.
    all.catch(() => undefined);
    return all;
  }

  /** Writes in parallel until the process dies; the outcomes are not checked. */
  crashing(clients: number, ops: number): Promise<unknown> {
    const work = async (): Promise<void> => {
      for (let left = ops; left > 0 && this.volume !== null; left--) {
        const count = this.random.int(1, Math.min(24, this.client.numBlocks));
        await this.client.submit(IoType.Write, this.random.int(0, this.client.numBlocks - count), count);
      }
    };
    return Promise.all(Array.from({ length: clients }, work));
  }

  /** Checks that redundancy is consistent with the data: by a rule or, if the kit knows none, with core's check process. */
  async checkRedundancy(): Promise<void> {
    if (this.module.redundancy === 'none') return;
    if (canCheckRedundancy(this.array)) {
      const problem = checkRedundancy(this.array, this.disks);
      assert(problem === null, problem ?? '');
      return;
    }
    if (this.array.process !== null || this.array.numInSync < this.numSlots) return;
    this.stack.arrays.startSync(arrayName, 'check', {});
    await this.array.processEnded;
    const [record] = this.array.history;
    const isDone = record?.type === 'check' && record.error === null;
    assert(isDone, `a check of redundancy ended with: ${record?.error ?? 'nothing that is recorded'}`);
    assert(record.mismatchBlocks === 0, `a check found ${record.mismatchBlocks} blocks that are not what redundancy says`);
  }

  /** Waits until the condition holds; fails if it takes too long. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = this.world.now + timeLimitMs;
    while (!condition()) {
      assert(
        this.world.now < deadline,
        `it did not come to pass in ${timeLimitMs / 60_000} minutes: ${what}; the array is ${this.array.state}, with ${this.#membersInWords()}`,
      );
      await this.world.sleep(5);
    }
  }

  /** Sends no request until written regions count as idle and are recorded as such. */
  idle(): Promise<void> {
    return this.world.sleep(12_000);
  }

  /** Removes a disk from the array, as an operator does. */
  async remove(index: number): Promise<void> {
    await this.stack.arrays.removeBaseBdev(this.disk(index).name, { force: true });
  }

  /** Adds a disk to the empty slot, and waits until it is rebuilt. */
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

  /** Stops the array in an orderly way, and ends the process. */
  async stop(): Promise<void> {
    await this.stack.arrays.stop();
    assert.equal(this.stack.arrays.iosOutstanding, 0, 'RAID I/O objects are out after a stop');
    assert.equal(this.stack.registry.ios.outstanding, 0, 'I/O objects are out after a stop');
    this.#die();
  }

  /** Cuts the power, which ends the process. */
  powerCut(mode: CutMode): void {
    this.#die();
    for (const disk of this.disks) disk.powerCut(mode);
    this.model.powerCut();
  }

  /**
   * Starts a new process with all but the given disks, and waits until the volume exists; the array starts degraded if
   * necessary.
   */
  async assemble(absent: readonly number[] = []): Promise<void> {
    this.stack = this.#newStack();
    const there = this.disks.filter((_, index) => !absent.includes(index));
    await Promise.all(there.map((disk) => this.stack.plugIn(disk)));
    if (this.array.state === 'configuring') await this.stack.arrays.startDegraded(arrayName);
    this.open();
  }

  /** Waits until no process runs and no region needs a resync. */
  async resynced(): Promise<void> {
    await this.until('everything agrees', () => this.array.process === null && (this.array.bitmap?.regionsToResync ?? 0) === 0);
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
        const held = found < 0 ? 'what was never written' : `write ${found}`;
        this.#wrong ??= new Error(
          `${what}: sector ${sector} (of ${sectorBytes} bytes) holds ${held}; right are ${allowed.map((tag) => `write ${tag}`).join(', ')}`,
        );
      },
    );
    this.volume = volume;
  }

  /** Ends the rig: its case is over, and nothing of it goes on. */
  end(): void {
    this.#die();
    this.memory.wipe();
    idleMemories.push(this.memory);
  }

  /** The first error that was observed; null if there was none. */
  get wrong(): Error | null {
    return this.#wrong;
  }

  /** Throws if any read so far returned a wrong value. */
  check(): void {
    if (this.#wrong !== null) throw this.#wrong;
  }

  #newStack(): Stack {
    const regions = { leastBytes: smallRegionBytes, zeroBytes: smallRegionBytes, mostGroups: 4 };
    const options = this.#options.hasSmallRegions === true ? { regions } : {};
    const stack = new Stack(this.world, this.memory, this.module, this.#store, (event) => this.#onEvent(event), options);
    if (this.#options.isSlowBackground === true) stack.arrays.setProcessOptions({ maxBandwidthMbSec: slowMbSec });
    stack.arrays.setProcessOptions({ windowSizeKb: this.#options.windowSizeKb ?? 64 });
    return stack;
  }

  /** A level that throws takes its array offline; whatever is observed later is a consequence. */
  #onEvent(event: RaidEvent): void {
    if (event.type !== 'arrayOffline' || !event.reason.includes(' threw: ')) return;
    this.#wrong ??= new ClauseError('L24', `the array is offline: ${event.reason}`);
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

/**
 * Usual number of members of a case's array. With fewer, a level with groups of members might have only one group, and could
 * not be told from a level without groups.
 */
export function usualSlots({ module, levelOptions = {} }: ConformanceOptions): number {
  const fewest = acceptedSlots(module, 2, levelOptions);
  const hasGroups = module.redundancy !== 'none' && module.canRun !== undefined;
  return hasGroups ? acceptedSlots(module, fewest + 2, levelOptions) : fewest;
}

export { IoType, Status, died };

function nameOf(type: IoType): string {
  return ['read', 'write', 'unmap', 'flush', 'write zeroes'][type] ?? 'request';
}

/** Runs a case's steps in virtual time. Rejects with what went wrong, or if no event is left, with the place where it waits. */
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
  const where = rig.describe();
  rig.stack.die();
  const found = end as { error: Error | null } | null;
  const failed = (): Error | null => {
    if (how === 'failed' && rig.world.failure !== null) return rig.world.failure;
    if (found === null)
      return new ClauseError('L10', `nothing goes on any more (${how}): a request or a call was never answered`);
    return found.error;
  };
  // An error observed during a case says more than the failure that followed from it.
  const error = rig.wrong ?? failed();
  if (error === null) {
    rig.end();
    return;
  }
  error.message = `${error.message}\n${where}`;
  throw error;
}
