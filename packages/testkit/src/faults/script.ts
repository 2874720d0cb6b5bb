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

/** The process has ended: the rest of the script does not happen. */
export class InterruptedError extends Error {}

/** A new array reads as zeros where there is a map; elsewhere, as what its members happen to hold. */
export function startAfresh(run: SimRun): void {
  run.model.forget();
  if (!run.hasMap) run.model.doubtValues(0, Infinity);
}

/** Longest that something is waited for that a fault may have made impossible. */
const faultyPatienceMs = 150_000;
/** Until regions that were written to are made clean: at the second look, as a rule, since the first comes a moment too early. */
const idleMs = 11_000;
/** Writes are under way by then, and not over. */
const crashAfterMs = 0.15;

/**
 * What users and operators do, one thing after another. Whatever is asked must succeed, unless a fault has struck and the
 * thing may fail for it; once the process has ended, every step throws {@link InterruptedError}.
 */
export class Script {
  readonly run: SimRun;
  /** Whether there is an array, as far as the caller can know. */
  exists: 'yes' | 'no' | 'either' = 'no';
  trip: Trip | null = null;
  /** Flushes are left out: what was written before stays in caches. */
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

  /** The process has ended. */
  interrupt(): void {
    this.#end?.();
  }

  // What users do.

  /** `at` is a fraction of the volume. */
  write(at: number, numBlocks: number, flags = 0): Promise<void> {
    return this.#io(IoType.Write, at, numBlocks, flags);
  }

  /** So many writes at once, each behind the one before. */
  inRow(at: number, numBlocks: number, count: number): Promise<void> {
    const total = this.run.volume?.numBlocks ?? 0;
    const first = Math.floor(at * total);
    // From the middle of a block, so that the fraction says which.
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

  /** Writes here and there: within a region, across two, part of a stripe, several stripes, over one another. */
  async fill(): Promise<void> {
    await this.write(0, 8);
    await this.write(0.01, 128);
    await this.write(0.0101, 33);
    await this.write(0.9, 64);
    await this.write(0.99, 5);
  }

  // What operators do.

  async create(): Promise<void> {
    // What a deletion that failed has left may be found instead.
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
    // What went away keeps its superblock.
    if (!clearSuperblock || !isDone || !this.run.disks.every(({ isPresent }) => isPresent)) return;
    this.exists = 'no';
    startAfresh(this.run);
  }

  async remove(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    await this.#control(`removing ${name}`, (stack) => stack.arrays.removeBaseBdev(name));
  }

  async add(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`adding ${name}`, (stack) => stack.arrays.addBaseBdev(arrayName, name));
  }

  /** A member counts as failed from now on. */
  async fail(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    const slot = this.run.array()?.slots.find((other) => other.name === name);
    if (slot === undefined) return;
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    await this.#control(`failing ${name}`, (stack) => stack.arrays.failMember(arrayName, slot.index, 'the operator says so'));
  }

  /** A disk stands by. */
  async spare(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`making ${name} a spare`, (stack) => stack.arrays.addSpare(name));
  }

  /** One more member, in a new slot: a copy, or space behind what there is. */
  async addSlot(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    await this.#control(`growing by ${name}`, (stack) => stack.arrays.growBaseBdev(arrayName, name));
  }

  /** The disk's slot goes, and the disk is no member any more. */
  async removeSlot(index: number): Promise<void> {
    const { name } = this.run.disk(index);
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    const slot = this.run.array()?.slots.find((one) => one.name === name);
    // What has happened to it meanwhile has taken it out.
    if (slot === undefined) return;
    await this.#control(`taking the slot of ${name} away`, (stack) => stack.arrays.removeSlot(arrayName, slot.index));
  }

  /** One disk takes another's place. */
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

  /** Every disk is larger by so much. */
  async grow(numBlocks: number): Promise<void> {
    const before = this.run.array()?.numBlocks ?? 0;
    for (const disk of this.run.disks) {
      disk.grow(disk.numBlocks + numBlocks);
      this.run.stack?.bdevOf(disk)?.resize(disk.numBlocks);
    }
    if (this.run.module.manifest.resize)
      await this.until('the array has grown', () => (this.run.array()?.numBlocks ?? 0) > before);
  }

  /** The array gets checksums, for which its disks become larger. Resolves when all that is there has some. */
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

  /** A disk is pulled out. */
  async pull(index: number): Promise<void> {
    this.#check();
    const disk = this.run.disk(index);
    const { stack } = this.run;
    if (stack === null || !disk.isPresent) return;
    // Two at once may be one too many.
    if (this.trip?.hasFired === true) this.run.isTolerant = true;
    disk.vanish();
    await this.#step(this.run.call(`pulling ${disk.name} out`, stack.pullOut(disk)));
  }

  /** And put back. */
  async plug(index: number): Promise<void> {
    this.#check();
    comeBack(this.run, this.run.disk(index), 'same');
    await this.#step(this.run.inTime('examining', this.run.stack?.registry.waitForExamine() ?? Promise.resolve()));
  }

  /** A clean stop, and a new process that finds the disks in order, but for some. */
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
    // With the last good member failing, and only a stale one to be seen, the array cannot know better: it is looked after
    // first.
    if (this.run.isTolerant) {
      calm(this.run);
      await this.#sleep(2 * goneMs);
      await this.#step(lookAfter(this.run));
    }
    if (this.run.array()?.state === 'configuring')
      await this.#control('a degraded start', () => stack.arrays.startDegraded(arrayName));
    await this.until('the array is up', () => this.run.volume !== null);
  }

  /** The power fails while that is under way, and a new process finds the disks. Before the steps only. */
  async crash(mode: CutMode, during: () => Promise<unknown>): Promise<void> {
    during().catch((error: unknown) => {
      // What was under way is not answered any more.
      if (!(error instanceof InterruptedError)) this.run.broken(error);
    });
    await this.run.world.sleep(crashAfterMs);
    await end(this.run, { how: 'power', mode, downMs: 1 });
    await assemble(this.run, -1);
  }

  /** From now on the disk takes so many times as long as usual. */
  slow(index: number, factor: number): void {
    this.run.disk(index).faults.slowness = factor;
  }

  wait(ms: number): Promise<void> {
    return this.#sleep(ms);
  }

  // Waiting.

  /** The disk is a current member, and nothing is going on. */
  rebuilt(index: number): Promise<void> {
    const disk = this.run.disk(index);
    return this.until(`${disk.name} is rebuilt`, () => this.#isCurrent(disk) && this.run.array()?.process === null);
  }

  /** All slots have current members, and nothing is going on. */
  complete(): Promise<void> {
    return this.until('all members are in', () => {
      const array = this.run.array();
      return array !== undefined && array.numInSync === array.numSlots && array.process === null;
    });
  }

  /** A process is under way, and has come that far, as a fraction of the volume. */
  async reached(fraction: number): Promise<void> {
    await this.until(`a process is at ${fraction}`, () => {
      const array = this.run.array();
      return (
        array?.process !== null && array?.process !== undefined && array.process.offsetBlocks >= fraction * array.numBlocks
      );
    });
  }

  /** Nothing is going on in the background. */
  idle(): Promise<void> {
    return this.until('nothing is going on', () => (this.run.array()?.process ?? null) === null);
  }

  /** As long as it takes until written regions are made clean. */
  async cool(): Promise<void> {
    await this.#sleep(idleMs);
  }

  /** Until the crash that is due, or it comes when written regions have been made clean. */
  async awaitCrash(): Promise<void> {
    const due = this.trip?.crashDue ?? null;
    if (due === null) return;
    await this.cool();
    this.trip?.crash();
    await this.#ended;
  }

  /** Several things side by side. */
  async together(...things: readonly (() => Promise<void>)[]): Promise<void> {
    await Promise.all(things.map((thing) => thing()));
  }

  /** Waits for what must come; what a fault has made impossible is given up after a while. */
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

  /** True if it was done. */
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

  /** The promise, or the end of the process, whichever comes first. */
  #step<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#ended]);
  }

  #check(): void {
    if (this.trip?.ending !== undefined && this.trip.ending !== null) throw new InterruptedError();
  }
}
