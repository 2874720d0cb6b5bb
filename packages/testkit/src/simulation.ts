import { IoType, Status, statusName } from '@raidkit/bdev';
import { RaidError, RegionState, minOperational } from '@raidkit/core';
import type { RaidArray, RaidEvent, RaidModule, SuperblockStore } from '@raidkit/core';
import { Coverage } from './coverage.js';
import { VolumeModel } from './model.js';
import { drawPlan } from './plan.js';
import type { PlanItem, SimPlan } from './plan.js';
import { Random } from './random.js';
import { checkRedundancy } from './redundancy.js';
import { CutMode, SimDisk } from './sim-disk.js';
import { SimMemory } from './sim-memory.js';
import { readTag, sectorBytes } from './sector.js';
import { Stack } from './stack.js';
import { VolumeClient, died } from './volume-client.js';
import { World } from './world.js';

/** What the code under test is able to do: checks that need more are left out. */
export interface Capabilities {
  /** After an unclean stop redundancy is made to agree again, by itself. */
  resync: boolean;
  /** A device that does not answer is failed by itself. */
  timeouts: boolean;
  /** After a crash, what was read once stays, even if the member that it came from is lost before a resync. */
  settledReads: boolean;
}

/** What to simulate. */
export interface SimOptions {
  seed: number;
  module: RaidModule;
  store: SuperblockStore;
  /** Default: {@link defaultCapabilities}. */
  capabilities?: Partial<Capabilities>;
  /** Default: drawn from the seed. */
  plan?: SimPlan;
  /** The memory of the simulated processes; nobody else may use it meanwhile. Default: one of its own. */
  memory?: SimMemory;
}

/** How a simulation went. */
export interface SimResult {
  seed: number;
  level: string;
  /** What rule was broken, and how; null if none was. */
  violation: string | null;
  /** The last steps, for people. */
  trace: string[];
  traceHash: string;
  steps: number;
  virtualMs: number;
  plan: SimPlan;
  coverage: Coverage;
}

/** What core does today. */
export const defaultCapabilities: Capabilities = { resync: true, timeouts: false, settledReads: true };

const arrayName = 'sim';
/** What the memory of simulated processes has to hold. */
export const memoryBytes = 64 * 1024 * 1024;
/** Virtual time in which everything must come to an end once faults have stopped. */
const patienceMs = 20 * 60_000;
const mostSteps = 3_000_000;

/** Runs one simulation. Resolves in every case; what went wrong is in the result. */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const plan = options.plan ?? drawPlan(options.seed, options.module);
  const memory = options.memory ?? new SimMemory({ bytes: memoryBytes });
  const simulation = new Simulation(options, plan, memory);
  await simulation.run();
  memory.reset();
  return simulation.result();
}

/** A rule was broken. */
class ViolationError extends Error {}

class Simulation {
  readonly #module: RaidModule;
  readonly #store: SuperblockStore;
  readonly #can: Capabilities;
  readonly #plan: SimPlan;
  readonly #memory: SimMemory;
  readonly #world: World;
  readonly #random: Random;
  readonly #model = new VolumeModel();
  readonly #coverage = new Coverage();
  readonly #disks: SimDisk[];
  readonly #snapshots = new Map<SimDisk, SimDisk['media']>();
  #stack: Stack | null = null;
  #volume: VolumeClient | null = null;
  /** Every volume of this process: one that went away may have requests that have not been answered. */
  readonly #volumes: VolumeClient[] = [];
  #whenUp: (() => void)[] = [];
  /** Members that hold the array's data, and that metadata says so of. */
  readonly #good = new Set<SimDisk>();
  /** Since when. */
  readonly #goodSince = new Map<SimDisk, number>();
  /** Disks of which the members' metadata says that they are out. */
  readonly #recordedOut = new Set<SimDisk>();
  /** Requests and calls that have not been answered, by what they are. */
  readonly #open = new Set<string>();
  /** Errors may be answered: more is broken than redundancy covers. */
  #isTolerant = false;
  #isStopping = false;
  /** When the process began, and when the array last came up. */
  #bootedAt = 0;
  #onlineAt = 0;
  /** The array was stopped uncleanly, at some time. */
  #wasUnclean = false;
  /** The array refuses to start, and is right. */
  #isRefused = false;
  #violation: string | null = null;
  #isOver = false;

  constructor(options: SimOptions, plan: SimPlan, memory: SimMemory) {
    this.#module = options.module;
    this.#store = options.store;
    this.#can = { ...defaultCapabilities, ...options.capabilities };
    this.#plan = plan;
    this.#memory = memory;
    this.#world = new World(plan.seed);
    this.#random = new Random(plan.seed, 2);
    const { shape } = plan;
    const fill = this.#hasMap ? 0xdb : 0;
    this.#disks = shape.memberBlocks.map((numBlocks, index) => {
      const latency = shape.latencies[index] ?? { leastMs: 0.1, meanMs: 0.1 };
      const { blockSize, hasWriteCache, hasForceUnitAccess } = shape;
      const uuid = `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`;
      return new SimDisk(this.#world, new Random(plan.seed, 10 + index), {
        name: `d${index}`,
        uuid,
        blockSize,
        numBlocks,
        latency,
        hasWriteCache,
        hasForceUnitAccess,
        fill,
      });
    });
  }

  async run(): Promise<void> {
    this.#scenario().then(
      () => {
        this.#isOver = true;
      },
      (error: unknown) => this.#broken(error),
    );
    const end = await this.#world.run(() => this.#isOver || this.#violation !== null, {
      maxMs: 24 * 3600_000,
      maxSteps: mostSteps,
    });
    if (end === 'failed') this.#violation ??= describeError(this.#world.failure);
    else if (end !== 'done') this.#violation ??= `G9: nothing happens any more (${end}); waiting: ${[...this.#open].join(', ')}`;
    this.#stack?.die();
    for (const volume of this.#volumes) volume.die();
  }

  #broken(error: unknown): void {
    this.#violation ??= describeError(error);
  }

  result(): SimResult {
    return {
      seed: this.#plan.seed,
      level: this.#module.level,
      violation: this.#violation,
      trace: this.#world.traceTail(),
      traceHash: this.#world.traceHash,
      steps: this.#world.steps,
      virtualMs: this.#world.now,
      plan: this.#plan,
      coverage: this.#coverage,
    };
  }

  /** The level keeps a map of what was never written: it reads as zeros. */
  get #hasMap(): boolean {
    return this.#module.manifest.redundant && this.#store.extension !== undefined;
  }

  get #isRedundant(): boolean {
    return this.#least < this.#plan.shape.numSlots;
  }

  /** Fewest members with which all data is there. */
  get #least(): number {
    return minOperational(this.#module, this.#plan.shape.numSlots);
  }

  // The course of a run.

  async #scenario(): Promise<void> {
    await this.#create();
    const startedAt = this.#world.now;
    const clients = new Map<number, PlanItem[]>();
    const timeline: PlanItem[] = [];
    for (const item of this.#plan.items) {
      if (item.kind !== 'io') timeline.push(item);
      else clients.set(item.client, [...(clients.get(item.client) ?? []), item]);
    }
    const work = [...clients.values()].map((items) => this.#runClient(items, startedAt).catch((error: unknown) => this.#broken(error)));
    for (const item of timeline) {
      const waitMs = startedAt + item.at - this.#world.now;
      if (waitMs > 0) await this.#world.sleep(waitMs);
      await this.#do(item);
      if (this.#isRefused) return;
    }
    await this.#heal();
    await this.#inTime('the clients', Promise.all(work));
    if (!(await this.#settle())) return;
    await this.#readAll('at rest');
    await this.#readAll('at rest, again');
    await this.#checkRest();
    await this.#restart({ kind: 'restart', at: 0, how: 'stop', mode: CutMode.KeepAll, downMs: 1, absent: -1 });
    if (this.#isRefused) return;
    await this.#readAll('after a clean restart');
    await this.#stop();
    this.#checkLeaks();
  }

  async #create(): Promise<void> {
    const { shape } = this.#plan;
    const stack = this.#boot();
    await Promise.all(this.#disks.map((disk) => stack.plugIn(disk)));
    stack.arrays.processOptions.windowSizeKb = shape.windowSizeKb;
    await stack.arrays.create({
      name: arrayName,
      level: this.#module.level,
      baseBdevs: this.#disks.slice(0, shape.numSlots).map(({ name }) => name),
      superblock: true,
      ...(shape.stripSizeKb > 0 ? { stripSizeKb: shape.stripSizeKb } : {}),
    });
  }

  async #runClient(items: readonly PlanItem[], startedAt: number): Promise<void> {
    for (const item of items) {
      if (item.kind !== 'io') continue;
      const waitMs = startedAt + item.at - this.#world.now;
      if (waitMs > 0) await this.#world.sleep(waitMs);
      const volume = await this.#up();
      const numBlocks = Math.min(item.numBlocks, volume.mostBlocks, volume.numBlocks);
      const offset = Math.min(Math.floor(item.zone * volume.numBlocks) + item.delta, volume.numBlocks - numBlocks);
      await this.#io(volume, item.type, offset, numBlocks, item.flags);
    }
  }

  async #io(volume: VolumeClient, type: IoType, offset: number, numBlocks: number, flags = 0): Promise<void> {
    const what = `${['read', 'write', 'unmap', 'flush', 'zero'][type] ?? 'io'} ${offset}+${numBlocks} (asked at ${this.#world.now.toFixed(3)})`;
    this.#open.add(what);
    const askedAt = this.#world.now;
    const status = await volume.submit(type, offset, numBlocks, flags);
    this.#open.delete(what);
    if (status === Status.Ok || status === died || status === Status.NoMemory) return;
    this.#coverage.mark(`io error ${statusName(status)}`);
    if (this.#isTolerant || this.#isStopping || volume !== this.#volume) return;
    if (!this.#isRedundant && this.#disks.some(({ isPresent, lastErrorAt }) => !isPresent || lastErrorAt >= askedAt)) return;
    // A flush that failed cannot be made up for: later ones fail, too, until the array is started anew.
    const mayNeverFlush = type === IoType.Flush || flags !== 0;
    if (mayNeverFlush && !this.#isRedundant && this.#disks.some(({ lastWriteErrorAt }) => lastWriteErrorAt >= this.#bootedAt)) return;
    throw new ViolationError(`G8: ${what} was answered ${statusName(status)} with ${this.#good.size} good members of ${this.#plan.shape.numSlots}`);
  }

  // Things that happen.

  async #do(item: PlanItem): Promise<void> {
    switch (item.kind) {
      case 'fault':
        this.#fault(item);
        break;
      case 'vanish':
        this.#vanish(item);
        break;
      case 'snapshot': {
        const disk = this.#disk(item.disk);
        this.#snapshots.set(disk, disk.media.clone());
        break;
      }
      case 'remove':
        this.#remove(item.disk);
        break;
      case 'add':
        this.#add(this.#disk(item.disk));
        break;
      case 'restart':
        await this.#restart(item);
        break;
      default:
    }
  }

  #fault({ disk: index, fault, ms, amount }: PlanItem & { kind: 'fault' }): void {
    const disk = this.#disk(index);
    // Without timeouts a stuck device is a slow one.
    const isHarmless = fault === 'slow' || fault === 'busy' || (fault === 'stuck' && !this.#can.timeouts);
    if (!isHarmless && !this.#mayLose(disk) && !this.#mayExceed(disk)) return;
    const { faults } = disk;
    this.#mark(`fault ${fault}`);
    this.#world.trace(`== ${disk.name}: ${fault} for ${ms.toFixed(1)} ms`);
    const end = this.#world.now + ms;
    switch (fault) {
      case 'latent':
        this.#makeLatent(disk, Math.ceil(amount * 4));
        break;
      case 'readErrors':
        faults.readErrorRate = amount;
        break;
      case 'writeErrors':
        faults.writeErrorRate = amount;
        break;
      case 'writeErrorOnce':
        faults.writeErrors = 1;
        break;
      case 'flushErrorOnce':
        faults.flushErrors = 1;
        break;
      case 'full':
        faults.isFull = true;
        break;
      case 'slow':
        faults.slowness = 1 + amount * 100;
        break;
      case 'stuck':
        faults.stuckUntil = end;
        break;
      case 'busy':
        faults.busyRate = amount * 0.5;
        break;
    }
    this.#world.after(ms, () => {
      faults.clear();
      disk.latent.clear();
    });
  }

  /** Sectors where data was written become unreadable. */
  #makeLatent(disk: SimDisk, count: number): void {
    const array = this.#array();
    const slot = array?.slots.find(({ name }) => name === disk.name);
    if (slot === undefined) return;
    const perBlock = disk.blockSize / sectorBytes;
    const touched = [...this.#model.touched];
    for (let i = 0; i < count && touched.length > 0; i++) {
      // Near enough to where the level may have put it: members hold the volume's blocks in about their order.
      const share = this.#random.pick(touched) / ((this.#volume?.numBlocks ?? 1) * perBlock);
      const near = Math.floor(share * slot.dataSize * perBlock);
      const sector = Math.min(slot.dataSize * perBlock - 1, Math.max(0, near + this.#random.int(-4, 4)));
      disk.latent.add(slot.dataOffset * perBlock + sector);
    }
  }

  #vanish({ disk: index, ms, returns }: PlanItem & { kind: 'vanish' }): void {
    const disk = this.#disk(index);
    const stack = this.#stack;
    if (stack?.bdevOf(disk) === undefined || !this.#mayLose(disk)) return;
    // What a device without redundancy loses is lost.
    const how = this.#isRedundant ? returns : 'same';
    this.#mark(`vanish ${how}`);
    this.#world.trace(`== ${disk.name} vanishes for ${ms.toFixed(1)} ms, returns ${how}`);
    disk.vanish();
    void this.#call(`pulling ${disk.name} out`, stack.pullOut(disk));
    this.#world.after(ms, () => this.#comeBack(disk, how));
  }

  #comeBack(disk: SimDisk, how: 'same' | 'cut' | 'old'): void {
    if (disk.isPresent) return;
    // Whoever has it open must let go of it first.
    if (this.#stack?.registry.get(disk.name) !== undefined) {
      this.#world.after(10, () => this.#comeBack(disk, how));
      return;
    }
    const old = this.#snapshots.get(disk);
    // What it loses must be known to be missing: the others' metadata says that it is out.
    const isOut = this.#recordedOut.has(disk);
    if (how === 'cut' && isOut) disk.loseCache(CutMode.Random);
    if (how === 'old' && old !== undefined && isOut) {
      disk.loseCache(CutMode.KeepAll);
      disk.media.restore(old);
      this.#coverage.mark('old image came back');
    }
    disk.isPresent = true;
    disk.lastErrorAt = this.#world.now;
    const stack = this.#stack;
    this.#world.trace(`== ${disk.name} is back`);
    if (stack === null) return;
    if (stack.bdevOf(disk) === undefined) void this.#call(`plugging ${disk.name} in`, stack.plugIn(disk));
  }

  #remove(index: number): void {
    const disk = this.#disk(index);
    const array = this.#array();
    if (this.#stack === null || array?.state !== 'online' || !this.#mayLose(disk)) return;
    if (!array.slots.some(({ name }) => name === disk.name)) return;
    this.#mark('remove');
    this.#good.delete(disk);
    this.#world.trace(`== remove ${disk.name}`);
    void this.#call(`removing ${disk.name}`, this.#stack.arrays.removeBaseBdev(disk.name), () => {
      this.#world.trace(`== ${disk.name} is removed`);
    });
  }

  #add(disk: SimDisk): void {
    const array = this.#array();
    const bdev = this.#stack?.bdevOf(disk);
    if (this.#stack === null || array?.state !== 'online' || bdev?.claimedBy !== null) return;
    if (array.process !== null || array.slots.every(({ descriptor }) => descriptor !== null)) return;
    this.#mark('add');
    this.#world.trace(`== add ${disk.name}`);
    void this.#call(`adding ${disk.name}`, this.#stack.arrays.addBaseBdev(arrayName, disk.name));
  }

  async #restart({ how, mode, downMs, absent }: PlanItem & { kind: 'restart' }): Promise<void> {
    const old = this.#stack;
    if (old === null) return;
    this.#mark(`restart ${how}`);
    this.#refreshGood();
    // A member that is failing now may be out by the end of a stop.
    for (const disk of this.#good) if (how === 'stop' && this.#hasTrouble(disk)) this.#good.delete(disk);
    this.#world.trace(`== ${how} (mode ${mode})`);
    if (how === 'stop') await this.#stop();
    const hadProcess = this.#array()?.process ?? null;
    if (hadProcess !== null) this.#coverage.mark(`${how} while ${hadProcess.type}`);
    this.#stack = null;
    old.die();
    for (const volume of this.#volumes.splice(0)) volume.die();
    this.#volume = null;
    this.#open.clear();
    this.#model.readsForgotten();
    for (const disk of this.#disks) {
      if (how === 'power') disk.powerCut(disk.isPresent ? mode : CutMode.Random);
      else disk.processDied();
    }
    if (how === 'power') this.#model.powerCut();
    else if (how === 'kill') this.#model.killed();
    this.#memory.reset();
    await this.#world.sleep(downMs);
    if (how !== 'stop') {
      this.#wasUnclean = true;
      // A crash and a member that is not there, or does not work: parity cannot say what the member's data is.
      const isWhole = this.#good.size === this.#plan.shape.numSlots && ![...this.#good].some((disk) => this.#hasTrouble(disk));
      if (this.#least > 1 && this.#isRedundant && !isWhole) this.#isTolerant = true;
    }
    // A start with the last good member unreadable fails, or, with only a stale one to be seen, cannot know better: no test.
    if (!this.#isRedundant || this.#plan.shape.isOverBudget) for (const disk of this.#disks) disk.faults.clear();
    await this.#assemble(absent);
    if (!this.#isRefused && this.#random.chance(0.4)) {
      await this.#readAll('after a restart');
      await this.#readAll('after a restart, again');
    }
  }

  async #assemble(absentIndex: number): Promise<void> {
    const stack = this.#boot();
    stack.arrays.processOptions.windowSizeKb = this.#plan.shape.windowSizeKb;
    const wanted = absentIndex < 0 ? undefined : this.#disk(absentIndex);
    const absent = wanted !== undefined && wanted.isPresent && this.#mayLose(wanted) ? wanted : null;
    if (absent !== null) {
      this.#coverage.mark('a disk is absent at assembly');
      absent.isPresent = false;
    }
    for (const disk of this.#random.shuffle(this.#disks.filter(({ isPresent }) => isPresent))) {
      const examined = this.#call(`examining ${disk.name}`, stack.plugIn(disk));
      if (this.#random.chance(0.5)) await this.#inTime(`examining ${disk.name}`, examined);
      if (this.#random.chance(0.3)) await this.#world.sleep(this.#random.exponential(20));
    }
    await this.#inTime('examining', stack.registry.waitForExamine());
    await this.#start(stack, absent);
    if (absent !== null && !this.#isRefused) this.#world.after(this.#random.exponential(200), () => this.#comeBack(absent, 'same'));
  }

  /** The array comes up by itself, or is started degraded, or refuses for a good reason. */
  async #start(stack: Stack, absent: SimDisk | null): Promise<void> {
    const missing = this.#disks.filter((disk) => !disk.isPresent && disk !== absent);
    let array = stack.arrays.get(arrayName);
    if (array?.state === 'online') return;
    if (!this.#isRedundant) {
      // It waits for its members; they come back by themselves.
      await this.#inTime('members coming back', Promise.all(missing.map((disk) => this.#returned(disk))));
      if (absent !== null) this.#comeBack(absent, 'same');
      await this.#inTime('the array coming up', this.#up());
      return;
    }
    await this.#world.sleep(1);
    array = stack.arrays.get(arrayName);
    while (array?.isStarting === true) await this.#world.sleep(1);
    if (this.#volume !== null) return;
    try {
      await this.#inTime('a degraded start', stack.arrays.startDegraded(arrayName));
      this.#coverage.mark('degraded start');
    } catch (error) {
      const isParity = this.#least > 1;
      if (!RaidError.is(error) || !isParity || !this.#wasUnclean || error.code !== 'ERR_RAID_METADATA') {
        if (this.#isTolerant) {
          this.#isRefused = true;
          return;
        }
        throw new ViolationError(`G8: the array does not start: ${describeError(error)}; good were ${[...this.#good].map(({ name }) => name).join(', ')}`);
      }
      this.#coverage.mark('dirty and degraded: refused');
      this.#world.trace(`== refused: ${error.message}`);
      if (absent !== null && this.#good.has(absent)) {
        this.#comeBack(absent, 'same');
        await this.#inTime('the array coming up', this.#up());
        return;
      }
      this.#isRefused = true;
    }
  }

  async #returned(disk: SimDisk): Promise<void> {
    while (!disk.isPresent) await this.#world.sleep(50);
  }

  // The end of a run.

  /** Faults stop. */
  async #heal(): Promise<void> {
    this.#world.trace('== faults stop');
    for (const disk of this.#disks) {
      disk.faults.clear();
      disk.latent.clear();
    }
    await this.#inTime('devices coming back', Promise.all(this.#disks.map((disk) => this.#returned(disk))));
    await this.#world.sleep(1000);
    // What could not be read or started because of an error, an operator has looked at, and started, now.
    const stack = this.#stack;
    for (const disk of this.#disks) {
      const bdev = stack?.bdevOf(disk);
      if (this.#volume === null && bdev?.claimedBy === null) await this.#call('examining', stack?.arrays.examine(bdev) ?? Promise.resolve());
    }
    if (this.#array()?.state === 'configuring') await this.#call('starting', this.#stack?.arrays.startDegraded(arrayName) ?? Promise.resolve());
  }

  /** Everything must come to rest, with redundancy complete. False if it cannot, and need not. */
  async #settle(): Promise<boolean> {
    await this.#inTime('the array coming up', this.#up());
    const startedAt = this.#world.now;
    for (;;) {
      const array = this.#array();
      if (array?.state === 'online' && this.#volume !== null) {
        if (!this.#isRedundant || this.#isSettled(array)) return true;
        const spare = this.#disks.find((disk) => this.#stack?.bdevOf(disk)?.claimedBy === null);
        if (spare !== undefined) this.#add(spare);
      }
      const waitedMs = this.#world.now - startedAt;
      if (this.#isTolerant && waitedMs > 60_000) {
        this.#coverage.mark('beyond redundancy: no rest');
        await this.#readAll('as far as possible');
        return false;
      }
      if (waitedMs > patienceMs) {
        throw new ViolationError(`G9: the array does not come to rest: ${array === undefined ? 'gone' : describeArray(array)}`);
      }
      await this.#world.sleep(100);
    }
  }

  #isSettled(array: RaidArray): boolean {
    if (array.process !== null || array.numCurrent < array.numSlots) return false;
    return !this.#can.resync || (array.regions?.count(RegionState.Suspect) ?? 0) === 0;
  }

  async #checkRest(): Promise<void> {
    const array = this.#array();
    if (array === undefined || !this.#isRedundant) return;
    const isInSync = (array.regions?.count(RegionState.Suspect) ?? 0) === 0;
    if (!isInSync || this.#isTolerant) return;
    this.#coverage.mark('redundancy checked');
    const problem = checkRedundancy(array, this.#disks, this.#model.touched);
    if (problem !== null) throw new ViolationError(`G7: ${problem}`);
    await Promise.resolve();
  }

  async #stop(): Promise<void> {
    const stack = this.#stack;
    if (stack === null) return;
    this.#isStopping = true;
    this.#world.trace('== stop');
    await this.#inTime('stopping', stack.arrays.stop());
    while ((this.#volume?.pending ?? 0) > 0) await this.#world.sleep(1);
    this.#volume = null;
    this.#isStopping = false;
    if (stack.arrays.iosOutstanding !== 0) throw new ViolationError(`G11: ${stack.arrays.iosOutstanding} RAID I/O objects are out after a stop`);
  }

  #checkLeaks(): void {
    const stack = this.#stack;
    if (stack === null) return;
    const { outstanding } = stack.registry.ios;
    if (outstanding !== 0) throw new ViolationError(`G11: ${outstanding} I/O objects are out at the end`);
    for (const disk of this.#disks) {
      if (disk.inFlight > 0) throw new ViolationError(`G11: ${disk.inFlight} I/Os are in flight on ${disk.name} at the end`);
      const claimedBy = stack.bdevOf(disk)?.claimedBy ?? null;
      if (claimedBy !== null) throw new ViolationError(`G11: ${disk.name} is still claimed by ${claimedBy}`);
    }
  }

  async #readAll(when: string): Promise<void> {
    const volume = await this.#up();
    const most = Math.min(volume.mostBlocks, (64 * 1024) / volume.blockSize);
    this.#world.trace(`== read all ${when}`);
    for (let at = 0; at < volume.numBlocks && volume === this.#volume; at += most) {
      await this.#io(volume, IoType.Read, at, Math.min(most, volume.numBlocks - at));
    }
  }

  // What is known of the array.

  #boot(): Stack {
    this.#bootedAt = this.#world.now;
    const stack = new Stack(this.#world, this.#memory, this.#module, this.#store, (event) => this.#onEvent(event));
    this.#stack = stack;
    return stack;
  }

  #array(): RaidArray | undefined {
    return this.#stack?.arrays.get(arrayName);
  }

  #onEvent(event: RaidEvent): void {
    const states = this.#array()?.regions?.states.join('') ?? 'none';
    this.#world.trace(`-- ${Object.values(event).join(' ')} (regions ${states})`);
    this.#coverage.mark(`event ${event.type}`);
    switch (event.type) {
      case 'arrayOnline':
        this.#onOnline();
        break;
      case 'memberRemoved':
      case 'memberFailed': {
        const disk = this.#disks.find(({ name }) => name === event.member);
        if (disk !== undefined) this.#recordedOut.add(disk);
        this.#refreshGood();
        break;
      }
      case 'processFinished':
        // Its member counts when metadata says so, which is when all that the process leads to is done.
        void this.#array()?.processEnded.then(() => this.#noteCurrent());
        break;
      default:
        this.#refreshGood();
    }
  }

  #onOnline(): void {
    const stack = this.#stack;
    if (stack === null || this.#volume !== null) return;
    // An array that is started anew knows nothing of flushes that failed: what they covered may be lost whatever it says.
    if (!this.#isRedundant && this.#disks.some(({ lastWriteErrorAt }) => lastWriteErrorAt >= this.#onlineAt)) this.#model.doubt();
    this.#onlineAt = this.#world.now;
    this.#good.clear();
    this.#recordedOut.clear();
    for (const disk of this.#disks) if (!this.#isCurrent(disk)) this.#recordedOut.add(disk);
    this.#noteCurrent();
    const descriptor = stack.registry.open(arrayName, {
      writable: true,
      onEvent: (event) => {
        if (event.type !== 'remove') return;
        volume.close();
        if (this.#volume === volume) this.#volume = null;
      },
    });
    const volume = new VolumeClient(this.#world, stack.registry, descriptor, this.#model, () => this.#mayHold(), ({ sector, found, allowed }, what) => {
      this.#traceCopies(sector);
      const rule = found < 0 ? 'G2' : 'G1/G3';
      this.#violation ??= `${rule}: ${what}: sector ${sector} holds ${found < 0 ? 'what nobody wrote' : `tag ${found}`}, allowed are ${allowed.join(', ')}`;
    });
    this.#volume = volume;
    this.#volumes.push(volume);
    const waiting = this.#whenUp;
    this.#whenUp = [];
    for (const resolve of waiting) resolve();
  }

  /** What each member of a mirror holds there, for people. */
  #traceCopies(sector: number): void {
    const array = this.#array();
    if (array?.minOperational !== 1) return;
    for (const slot of array.slots) {
      const disk = this.#disks.find(({ name }) => name === slot.name);
      if (disk === undefined) continue;
      const bytes = new Uint8Array(sectorBytes);
      disk.media.read(bytes, 0, slot.dataOffset * disk.blockSize + sector * sectorBytes, sectorBytes);
      this.#world.trace(`slot ${slot.index} (${disk.name}${slot.isCurrent ? '' : ', not current'}) holds ${readTag(new Int32Array(bytes.buffer), 0, sector)}`);
    }
  }

  /** What a read returns is what the sector holds from then on. */
  #mayHold(): boolean {
    return this.#can.settledReads || (this.#array()?.regions?.count(RegionState.Suspect) ?? 0) === 0;
  }

  /** The volume, when it is there. */
  async #up(): Promise<VolumeClient> {
    while (this.#volume === null) await new Promise<void>((resolve) => this.#whenUp.push(resolve));
    return this.#volume;
  }

  #isCurrent(disk: SimDisk): boolean {
    return this.#array()?.slots.some((slot) => slot.name === disk.name && slot.isCurrent) ?? false;
  }

  #noteCurrent(): void {
    for (const disk of this.#disks) {
      if (!this.#isCurrent(disk)) continue;
      if (!this.#good.has(disk)) this.#goodSince.set(disk, this.#world.now);
      this.#good.add(disk);
      this.#recordedOut.delete(disk);
    }
  }

  #refreshGood(): void {
    const state = this.#array()?.state ?? 'configuring';
    if (state === 'configuring') return;
    for (const disk of this.#good) if (!this.#isCurrent(disk)) this.#good.delete(disk);
  }

  /** Whether the disk fails, or has failed and the array has not drawn its conclusion yet. */
  #hasTrouble(disk: SimDisk): boolean {
    if (disk.lastWriteErrorAt > (this.#goodSince.get(disk) ?? Infinity)) return true;
    return disk.faults.areAny || disk.latent.size > 0 || !disk.isPresent || (this.#can.timeouts && disk.faults.stuckUntil > this.#world.now);
  }

  /** Whether everything is still there without this disk, or the level has nothing to lose. */
  #mayLose(disk: SimDisk): boolean {
    this.#refreshGood();
    const left = [...this.#good].filter((other) => other !== disk && !this.#hasTrouble(other)).length;
    const regions = this.#array()?.regions ?? null;
    const isParity = this.#least > 1;
    if (left >= this.#least) {
      // Parity that has not been resynchronised is none: what it would have to give is refused.
      if (isParity && (regions?.count(RegionState.Suspect) ?? 0) > 0) this.#isTolerant = true;
      return true;
    }
    return !this.#isRedundant;
  }

  /** Errors on a disk that redundancy cannot do without, if the plan says so. */
  #mayExceed(disk: SimDisk): boolean {
    if (!this.#plan.shape.isOverBudget || !disk.isPresent) return false;
    this.#isTolerant = true;
    return true;
  }

  #mark(what: string): void {
    const array = this.#array();
    const state = array === undefined ? 'down' : array.state !== 'online' ? array.state : array.process !== null ? array.process.type : array.numCurrent < array.numSlots ? 'degraded' : 'optimal';
    this.#coverage.mark(`${what} / ${state}`);
  }

  /** A control call that must come to an end, and whose failure, if it is one of the array's own, is an answer. */
  async #call(what: string, promise: Promise<unknown>, then?: () => void): Promise<void> {
    const stack = this.#stack;
    this.#open.add(what);
    try {
      await promise;
      if (stack === this.#stack) then?.();
    } catch (error) {
      if (!RaidError.is(error)) this.#violation ??= `${what}: ${describeError(error)}`;
      else this.#world.trace(`== ${what}: ${error.message}`);
    } finally {
      this.#open.delete(what);
    }
  }

  /** What must come to an end in bounded time. */
  async #inTime<T>(what: string, promise: Promise<T>): Promise<T> {
    const timer = this.#world.after(patienceMs, () => {
      const array = this.#array();
      this.#violation ??= `G9: ${what} takes more than ${patienceMs / 1000} s; waiting: ${[...this.#open].join(', ')}; array ${array === undefined ? 'gone' : describeArray(array)}`;
    });
    try {
      return await promise;
    } finally {
      this.#world.cancel(timer);
    }
  }

  #disk(index: number): SimDisk {
    const disk = this.#disks[index];
    if (disk === undefined) throw new RangeError(`there is no disk ${index}`);
    return disk;
  }
}

function describeArray(array: RaidArray): string {
  const slots = array.slots.map((slot) => `${String(slot.name)}${slot.isCurrent ? '' : slot.isTarget ? ' (target)' : ' (out)'}`);
  return `${array.state}, ${array.process === null ? 'no process' : array.process.type}, slots ${slots.join(', ')}${array.trouble === null ? '' : `, trouble: ${array.trouble}`}`;
}

function describeError(error: unknown): string {
  if (error instanceof ViolationError) return error.message;
  return error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
}
