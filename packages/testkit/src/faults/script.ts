import { BdevError, IoFlag, IoType } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import type { SimDisk } from '../sim-disk.js';
import { arrayName, timeLimitMs } from '../simulation/sim-run.js';
import type { SimRun } from '../simulation/sim-run.js';
import { repairOptions } from '../simulation/lies.js';
import { calm, lookAfter } from '../simulation/rest.js';
import type { CutMode } from '../disk-faults.js';
import { assemble, end, stop } from '../simulation/restart.js';
import { comeBack } from '../simulation/trouble.js';
import { ViolationError, describeArray } from '../simulation/violation.js';
import type { Stack } from '../stack.js';
import { goneMs } from './trip.js';
import type { Trip } from './trip.js';

/** Thrown when the process has ended, so that the rest of the script does not run. */
export class InterruptedError extends Error {}

/** Resets the model for a new array: with a bitmap it reads as zeros, otherwise as whatever its members hold. */
export function startAfresh(run: SimRun): void {
  run.model.forget();
  if (!run.hasMap) run.model.doubtValues(0, Infinity);
}

/** Longest wait, in virtual milliseconds, for something that a fault may have made impossible. */
const faultyPatienceMs = 150_000;
/** Milliseconds until written regions are marked clean: at the second check, since the first one is slightly too early. */
const idleMs = 11_000;
/** Milliseconds after which writes are in flight and not complete. */
const crashAfterMs = 0.15;

/**
 * What users and operators do, step by step. Every step must succeed, unless a fault has struck that may make it fail. Once the
 * process has ended, every step throws {@link InterruptedError}.
 */
export class Script {
  readonly run: SimRun;
  /** Whether there is an array, as far as the caller can know. */
  exists: 'yes' | 'no' | 'either' = 'no';
  trip: Trip | null = null;
  /** Skips flushes, so that writes stay in caches. */
  leavesFlushesOut = false;
  readonly #ended: Promise<never>;
  #end: (() => void) | null = null;

  constructor(run: SimRun) {
    this.run = run;
    this.#ended = new Promise<never>((_, reject) => {
      this.#end = () => reject(new InterruptedError());
    });
    this.#ended.catch(() => undefined);
  }

  /** Ends all steps, because the process has ended. */
  interrupt(): void {
    this.#end?.();
  }

  // What users do.

  /** `at` is a fraction of the volume. */
  write(at: number, numBlocks: number, flags = 0): Promise<void> {
    return this.#io(IoType.Write, at, numBlocks, flags);
  }

  /** Sends consecutive writes at once. */
  inRow(at: number, numBlocks: number, count: number): Promise<void> {
    const total = this.run.volume?.numBlocks ?? 0;
    const first = Math.floor(at * total);
    // The middle of the block, so that rounding cannot change which one it is.
    const writes = Array.from({ length: count }, (_, index) => (first + index * numBlocks + 0.5) / total);
    return this.together(...writes.map((place) => () => this.write(place, numBlocks)));
  }

  fua(at: number, numBlocks: number): Promise<void> {
    return this.#io(IoType.Write, at, numBlocks, IoFlag.ForceUnitAccess);
  }

  read(at: number, numBlocks: number): Promise<void> {
    return this.#io(IoType.Read, at, numBlocks);
  }

  zero(at: number, numBlocks: number): Promise<void> {
    return this.#io(IoType.WriteZeroes, at, numBlocks);
  }

  unmap(at: number, numBlocks: number): Promise<void> {
    return this.#io(IoType.Unmap, at, numBlocks);
  }

  flush(): Promise<void> {
    return this.leavesFlushesOut ? Promise.resolve() : this.#io(IoType.Flush, 0, Infinity);
  }

  /** Writes within a region, across two, to part of a stripe, to several stripes, and overlapping. */
  async fill(): Promise<void> {
    await this.write(0, 8);
    await this.write(0.01, 128);
    await this.write(0.0101, 33);
    await this.write(0.9, 64);
    await this.write(0.99, 5);
  }

  // What operators do.

  async create(): Promise<void> {
    // A failed deletion may have left an array that is found instead.
    if (this.exists === 'either') this.run.model.doubtValues(0, Infinity);
    this.exists = 'either';
    if (!(await this.#control('creating', (stack) => stack.arrays.create(this.run.creation())))) return;
    this.exists = 'yes';
    startAfresh(this.run);
  }

  async delete(clearSuperblock: boolean): Promise<void> {
    if (this.run.array() === undefined) return;
    if (clearSuperblock) this.exists = 'either';
    const isDone = await this.#control('deleting', (stack) => stack.arrays.delete(arrayName, { clearSuperblock }));
    // A disk that was gone keeps its superblock.
    if (!clearSuperblock || !isDone || !this.run.disks.every(({ isPresent }) => isPresent)) return;
    this.exists = 'no';
    startAfresh(this.run);
  }

  async remove(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    await this.#control(`removing ${name}`, (stack) => stack.arrays.removeBaseBdev(name, { force: true }));
  }

  async add(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`adding ${name}`, (stack) => stack.arrays.addBaseBdev(arrayName, name));
  }

  /** Fails a member. */
  async fail(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    const slot = this.run.array()?.slots.find((other) => other.name === name);
    if (slot === undefined) return;
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    await this.#control(`failing ${name}`, (stack) =>
      stack.arrays.failMember(arrayName, slot.index, 'the operator says so', { force: true }),
    );
  }

  /** Makes a disk a spare. */
  async spare(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`making ${name} a spare`, (stack) => stack.arrays.addSpare(name));
  }

  /** Adds a member in a new slot: a further copy, or space behind the others. */
  async addSlot(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`growing by ${name}`, (stack) => stack.arrays.growBaseBdev(arrayName, name));
  }

  /** Removes the disk's slot; the disk is no member any more. */
  async removeSlot(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    const slot = this.run.array()?.slots.find((one) => one.name === name);
    // A fault has removed it meanwhile.
    if (slot === undefined) return;
    await this.#control(`taking the slot of ${name} away`, (stack) => stack.arrays.removeSlot(arrayName, slot.index));
  }

  /** Replaces a member by another disk. */
  async replace(index: number, by: number): Promise<void> {
    const { name } = this.run.disk(index);
    const other = this.run.disk(by).name;
    await this.#control(`replacing ${name} by ${other}`, (stack) => stack.arrays.replaceBaseBdev(arrayName, name, other));
  }

  async start(type: 'check' | 'repair'): Promise<void> {
    await this.#control(`starting a ${type}`, (stack) => {
      stack.arrays.startSync(arrayName, type, type === 'repair' ? repairOptions(this.run) : {});
      return Promise.resolve();
    });
    await this.idle();
  }

  /** Enlarges every disk. */
  async grow(numBlocks: number): Promise<void> {
    const before = this.run.array()?.numBlocks ?? 0;
    for (const disk of this.run.disks) {
      disk.grow(disk.numBlocks + numBlocks);
      this.run.stack?.bdevOf(disk)?.resize(disk.numBlocks);
    }
    if (this.run.module.manifest.resize)
      await this.until('the array has grown', () => (this.run.array()?.numBlocks ?? 0) > before);
  }

  /** Turns checksums on and enlarges the disks to make room. Resolves when all blocks have checksums. */
  async turnChecksumsOn(numBlocks: number): Promise<void> {
    await this.#control('turning checksums on', (stack) => stack.arrays.enableIntegrity(arrayName, { whenRoom: true }));
    for (const disk of this.run.disks) {
      disk.grow(disk.numBlocks + numBlocks);
      this.run.stack?.bdevOf(disk)?.resize(disk.numBlocks);
    }
    await this.until(
      'all has checksums',
      () => this.run.array()?.hasIntegrity === true && this.run.array()?.isUnproven === false,
    );
    await this.#step(this.run.array()?.processEnded ?? Promise.resolve());
  }

  async turnChecksumsOff(): Promise<void> {
    this.run.sumLies.forget();
    await this.#control('turning checksums off', (stack) => stack.arrays.disableIntegrity(arrayName));
  }

  /** Pulls a disk out. */
  async pull(index: number): Promise<void> {
    this.#check();
    const disk = this.run.disk(index);
    const { stack } = this.run;
    if (stack === null || !disk.isPresent) return;
    // Two losses at once may be one too many.
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    disk.vanish();
    await this.#step(this.run.call(`pulling ${disk.name} out`, stack.pullOut(disk)));
  }

  /** Plugs a disk back in. */
  async plug(index: number): Promise<void> {
    this.#check();
    comeBack(this.run, this.run.disk(index), 'same');
    await this.#step(this.run.inTime('examining', this.run.stack?.registry.waitForExamine() ?? Promise.resolve()));
  }

  /** Stops in an orderly way, and starts a new process that finds the disks in order, without the absent ones. */
  async restart(absent: readonly number[] = []): Promise<void> {
    this.#check();
    await this.#step(stop(this.run));
    this.run.bury();
    for (const disk of this.run.disks) disk.processDied();
    this.run.memory.reset();
    await this.#sleep(1);
    const stack = this.run.boot();
    for (const [index, disk] of this.run.disks.entries()) {
      if (absent.includes(index)) disk.isPresent = false;
      if (disk.isPresent) await this.#step(this.run.call(`examining ${disk.name}`, stack.plugIn(disk)));
    }
    await this.#step(stack.registry.waitForExamine());
    // If the last good member fails and only a stale one is visible, the array cannot know better, so the operator looks after
    // it first.
    if (this.run.isTolerant) {
      calm(this.run);
      await this.#sleep(2 * goneMs);
      await this.#step(lookAfter(this.run));
    }
    if (this.run.array()?.state === 'configuring')
      await this.#control('a degraded start', () => stack.arrays.startDegraded(arrayName));
    await this.until('the array is up', () => this.run.volume !== null);
  }

  /** Cuts the power during some work, and starts a new process. Only for what happens before the scenario's steps. */
  async crash(mode: CutMode, during: () => Promise<unknown>): Promise<void> {
    during().catch((error: unknown) => {
      // What was in flight does not complete any more.
      if (!(error instanceof InterruptedError)) this.run.broken(error);
    });
    await this.run.world.sleep(crashAfterMs);
    await end(this.run, { how: 'power', mode, downMs: 1 });
    await assemble(this.run, -1);
  }

  /** Slows the disk down by a factor from now on. */
  slow(index: number, factor: number): void {
    this.run.disk(index).faults.slowness = factor;
  }

  wait(ms: number): Promise<void> {
    return this.#sleep(ms);
  }

  // Waiting.

  /** Waits until the disk is a member in sync and no process runs. */
  rebuilt(index: number): Promise<void> {
    const disk = this.run.disk(index);
    return this.until(`${disk.name} is rebuilt`, () => this.#isCurrent(disk) && this.run.array()?.process === null);
  }

  /** Waits until all slots have members in sync and no process runs. */
  complete(): Promise<void> {
    return this.until('all members are in', () => {
      const array = this.run.array();
      return array !== undefined && array.numInSync === array.numSlots && array.process === null;
    });
  }

  /** Waits until a process has reached this fraction of the volume. */
  async reached(fraction: number): Promise<void> {
    await this.until(`a process is at ${fraction}`, () => {
      const array = this.run.array();
      return (
        array?.process !== null && array?.process !== undefined && array.process.offsetBlocks >= fraction * array.numBlocks
      );
    });
  }

  /** Waits until no background process runs. */
  idle(): Promise<void> {
    return this.until('nothing is going on', () => (this.run.array()?.process ?? null) === null);
  }

  /** Waits until written regions are marked clean. */
  async cool(): Promise<void> {
    await this.#sleep(idleMs);
  }

  /** Waits for a crash that is still to follow, or crashes once written regions are marked clean. */
  async awaitCrash(): Promise<void> {
    const due = this.trip?.crashDue ?? null;
    if (due === null) return;
    await this.cool();
    this.trip?.crash();
    await this.#ended;
  }

  /** Runs several things in parallel. */
  async together(...things: readonly (() => Promise<void>)[]): Promise<void> {
    await Promise.all(things.map((thing) => thing()));
  }

  /** Waits for a condition that must become true; gives up after a while if a fault may have made it impossible. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const startedAt = this.run.world.now;
    for (;;) {
      this.#check();
      if (condition()) return;
      const waitedMs = this.run.world.now - startedAt;
      if (this.trip?.hasFired === true && waitedMs > faultyPatienceMs) return;
      if (waitedMs > timeLimitMs) {
        const array = this.run.array();
        throw new ViolationError(
          `G9: it did not come to pass: ${what}; array ${array === undefined ? 'gone' : describeArray(array)}`,
        );
      }
      await this.#sleep(waitedMs < 200 ? 1 : 20);
    }
  }

  async #io(type: IoType, at: number, numBlocks: number, flags = 0): Promise<void> {
    this.#check();
    const { volume } = this.run;
    if (volume === null) {
      if (this.trip?.hasFired === true || this.run.isStopping || this.run.stack === null) return;
      throw new ViolationError('G9: the volume is not there');
    }
    const offset = numBlocks === Infinity ? 0 : Math.min(Math.floor(at * volume.numBlocks), volume.numBlocks - numBlocks);
    await this.#step(
      this.run.inTime('a request', this.run.io(volume, type, offset, Math.min(numBlocks, volume.numBlocks), flags)),
    );
  }

  /** Runs a control call; resolves with true if it succeeded. */
  async #control(what: string, call: (stack: Stack) => Promise<unknown>): Promise<boolean> {
    this.#check();
    const { stack, world } = this.run;
    if (stack === null) return false;
    world.trace(`== ${what}`);
    try {
      await this.#step(this.run.inTime(what, call(stack)));
      world.trace(`== ${what}: done`);
      return true;
    } catch (error) {
      if (!RaidError.is(error) && !BdevError.is(error)) throw error;
      if (this.trip?.hasFired !== true)
        throw new ViolationError(`G8: ${what} failed although nothing is wrong: ${error.message}`);
      world.trace(`== ${what}: ${error.message}`);
      return false;
    }
  }

  #isCurrent(disk: SimDisk): boolean {
    return this.run.array()?.slots.some((slot) => slot.name === disk.name && slot.isInSync) ?? false;
  }

  async #sleep(ms: number): Promise<void> {
    await this.#step(this.run.world.sleep(ms));
  }

  /** Settles with the promise, or rejects when the process ends, whichever comes first. */
  #step<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#ended]);
  }

  #check(): void {
    if (this.trip?.ending !== undefined && this.trip.ending !== null) throw new InterruptedError();
  }
}
