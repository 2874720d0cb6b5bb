import { IoType, Status, statusName } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import type { RaidArray } from '@raidkit/core';
import type { VolumeModel } from '../model.js';
import { Random } from '../random.js';
import { hasBadBlock } from '../redundancy.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import { Stack } from '../stack.js';
import type { StackOptions } from '../stack.js';
import { VolumeClient } from '../volume-client.js';
import { World } from '../world.js';
import { arrayName, timeLimitMs } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { ViolationError, describeArray, describeError } from './violation.js';

/** Result of a start in a twin. */
export type TwinStart = 'online' | 'refused';

const longestMs = 24 * 3600_000;
const mostSteps = 1_000_000;

/**
 * A copy of a run's disks at one moment, in a world of its own: what would be found if everything ended there. Nothing that
 * happens here affects the run.
 */
export class Twin {
  readonly world: World;
  readonly random: Random;
  readonly disks: SimDisk[];
  readonly model: VolumeModel;
  stack: Stack;
  volume: VolumeClient | null = null;
  /** Reason of the last refused start. */
  refusal = '';
  readonly #run: SimRun;
  #violation: string | null = null;

  private constructor(run: SimRun, seed: number) {
    this.#run = run;
    this.world = new World(seed);
    this.random = new Random(seed, 5);
    this.disks = run.disks.map((disk, index) => disk.copyTo(this.world, new Random(seed, 10 + index)));
    this.model = run.model.copy();
    this.stack = this.boot();
  }

  /** Runs the steps on a copy of the run's disks. Throws what goes wrong, with a description of what was tried. */
  static async run(run: SimRun, seed: number, what: string, steps: (twin: Twin) => Promise<void>): Promise<void> {
    await run.world.aside(async () => {
      const twin = new Twin(run, seed);
      let isOver = false;
      let problem: string | null = null;
      steps(twin).then(
        () => (isOver = true),
        (error: unknown) => (problem = describeError(error)),
      );
      const end = await twin.world.run(() => isOver || problem !== null || twin.#violation !== null, {
        maxMs: longestMs,
        maxSteps: mostSteps,
      });
      twin.bury();
      run.world.mixWorld(twin.world);
      const found =
        twin.#violation ??
        problem ??
        (end === 'failed'
          ? describeError(twin.world.failure)
          : end === 'done'
            ? null
            : `G9: nothing happens any more (${end})`);
      if (found === null) return;
      for (const line of twin.world.traceTail()) run.world.trace(`twin: ${line}`);
      const rule = /^G[0-9/G]*: /.exec(found)?.[0] ?? '';
      throw new ViolationError(`${rule}at rest, ${what}: ${found.slice(rule.length)}`);
    });
  }

  get array(): RaidArray | undefined {
    return this.stack.arrays.get(arrayName);
  }

  /** The copy of one of the run's disks. */
  diskOf(disk: SimDisk): SimDisk {
    const copy = this.disks.find(({ name }) => name === disk.name);
    if (copy === undefined) throw new RangeError(`there is no copy of ${disk.name}`);
    return copy;
  }

  /** Starts a new process; the previous one, if any, is dead. */
  boot(assembly: StackOptions['assembly'] = {}): Stack {
    const { memory, module, plan, store } = this.#run;
    memory.aside.reset();
    this.stack = new Stack(
      this.world,
      memory.aside,
      module,
      store,
      (event) => this.world.trace(`-- ${Object.values(event).join(' ')}`),
      { ...this.#run.stackOptions, assembly: { ...this.#run.stackOptions.assembly, ...assembly } },
    );
    const { maxBandwidthMbSec = 0, windowSizeKb } = plan.shape;
    this.stack.arrays.setProcessOptions({ maxBandwidthMbSec, windowSizeKb });
    return this.stack;
  }

  /** Ends the process. */
  bury(): void {
    this.stack.die();
    this.volume?.die();
    this.volume = null;
    for (const disk of this.disks) disk.processDied();
    this.#run.memory.aside.reset();
  }

  /** Stops the array in an orderly way, and ends the process. */
  async stop(): Promise<void> {
    await this.stack.arrays.stop();
    this.volume = null;
    this.bury();
  }

  /** A new process finds the present disks and starts the array, degraded if necessary. */
  async assemble(assembly: StackOptions['assembly'] = {}): Promise<TwinStart> {
    const stack = this.boot(assembly);
    for (const disk of this.random.shuffle(this.disks.filter(({ isPresent }) => isPresent))) await stack.plugIn(disk);
    await stack.registry.waitForExamine();
    await this.world.sleep(1);
    return this.start();
  }

  async start(options: { force?: boolean } = {}): Promise<TwinStart> {
    while (this.array?.isStarting === true) await this.world.sleep(1);
    if (this.array?.state !== 'online') {
      try {
        await this.stack.arrays.startDegraded(arrayName, options);
      } catch (error) {
        if (!RaidError.is(error)) throw error;
        this.refusal = error.message;
        this.world.trace(`== refused: ${error.message}`);
        return 'refused';
      }
    }
    this.#open();
    return 'online';
  }

  /** Reads everything that users ever wrote, and samples of the rest. Errors are allowed if `mayFail`. */
  async readAll(mayFail = false): Promise<void> {
    const { volume } = this;
    if (volume === null) throw new ViolationError('G8: the volume is gone');
    for (const { offset, count } of this.#run.toRead(volume, true)) {
      const status = await volume.submit(IoType.Read, offset, count);
      if (status === Status.Ok || mayFail) continue;
      if (this.#mayBeBad(offset, count) || this.#isUndecided(offset, count)) continue;
      throw new ViolationError(`G8: read ${offset}+${count} was answered ${statusName(status)}`);
    }
  }

  /** Whether the array lists bad blocks in these stripes with good reason, so that errors are allowed there. */
  #mayBeBad(offset: number, numBlocks: number): boolean {
    const { array } = this;
    return this.#run.mayListBad && array !== undefined && hasBadBlock(array, offset, numBlocks);
  }

  /** Whether several disks were corrupted in one stripe: reads there may fail, but must not return wrong data. */
  #isUndecided(offset: number, numBlocks: number): boolean {
    const perBlock = (this.volume?.blockSize ?? sectorBytes) / sectorBytes;
    return this.#run.isUndecided && this.model.isDoubted(offset * perBlock, numBlocks * perBlock);
  }

  /** Writes random blocks, flushed if `isFlushed`. */
  async writeSome(count: number, isFlushed: boolean): Promise<void> {
    const { volume } = this;
    if (volume === null) throw new ViolationError('G8: the volume is gone');
    for (let left = count; left > 0; left--) {
      const numBlocks = this.random.int(1, Math.min(16, volume.numBlocks));
      const offset = this.random.int(0, volume.numBlocks - numBlocks);
      const mayFail = this.#mayBeBad(offset, numBlocks) || this.#isUndecided(offset, numBlocks);
      const status = await volume.submit(IoType.Write, offset, numBlocks);
      if (status !== Status.Ok && !mayFail) throw new ViolationError(`G8: a write was answered ${statusName(status)}`);
    }
    if (!isFlushed) return;
    const status = await volume.submit(IoType.Flush, 0, volume.numBlocks);
    if (status !== Status.Ok) throw new ViolationError(`G8: a flush was answered ${statusName(status)}`);
  }

  /** Resolves when every slot has a member in sync and no process runs. */
  async settle(): Promise<RaidArray> {
    // A background process with a bandwidth limit takes longer.
    const isSlow = (this.#run.plan.shape.maxBandwidthMbSec ?? 0) > 0;
    const until = this.world.now + (isSlow ? 10 : 1) * timeLimitMs;
    for (;;) {
      const { array } = this;
      if (
        array?.state === 'online' &&
        array.process === null &&
        array.numInSync === array.numSlots &&
        (array.bitmap?.regionsToResync ?? 0) === 0
      )
        return array;
      if (this.world.now > until)
        throw new ViolationError(`G9: the array does not come to rest: ${array === undefined ? 'gone' : describeArray(array)}`);
      await this.world.sleep(100);
    }
  }

  #open(): void {
    const descriptor = this.stack.registry.open(arrayName, {
      writable: this.array?.isReadOnly !== true,
      onEvent: (event) => {
        if (event.type !== 'remove') return;
        volume.close();
        if (this.volume === volume) this.volume = null;
      },
    });
    const volume: VolumeClient = new VolumeClient(
      this.world,
      this.stack.registry,
      descriptor,
      this.model,
      () => true,
      ({ sector, found, allowed }, what) => {
        this.#violation ??= `${found < 0 ? 'G2' : 'G1/G3'}: ${what}: sector ${sector} holds ${found < 0 ? 'what was never written' : `tag ${found}`}, allowed are ${allowed.join(', ')}`;
      },
    );
    this.volume = volume;
  }
}
