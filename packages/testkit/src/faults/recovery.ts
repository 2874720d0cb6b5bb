import { IoType } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RaidError, RegionState } from '@raidkit/core';
import { CutMode } from '../disk-faults.js';
import type { VolumeModel } from '../model.js';
import type { PlanItem } from '../plan-items.js';
import { Random } from '../random.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { BeforeForeign, ForeignUse } from '../simulation/foreign.js';
import { beforeForeign, runByOther } from '../simulation/foreign.js';
import { assemble } from '../simulation/restart.js';
import type { Ending } from '../simulation/restart.js';
import { arrayName } from '../simulation/sim-run.js';
import type { SimRun } from '../simulation/sim-run.js';
import { comeBack } from '../simulation/trouble.js';
import { ViolationError } from '../simulation/violation.js';

/**
 * What happens after a crash before an ordinary start of ours. `foreign`: another program runs the array by SPDK's rules.
 * `forced`: an operator starts it by force while some of its members are withheld, and brings these back afterwards.
 */
export const recoveryKinds = ['foreign', 'forced'] as const;
export type RecoveryKind = (typeof recoveryKinds)[number];

export interface Recovery {
  readonly kind: RecoveryKind;
  /** Chooses what the other program does, or which members are withheld. */
  readonly draw: number;
}

/** Milliseconds after a write for which its region may be dirty on members: it is marked clean at the second check. */
const dirtyForMs = 12_000;
/** Number of writes after a forced start, and their largest size in blocks. */
const mostWrites = 3;
const mostBlocks = 24;

/** Prepares for the recovery while the first process is still there, and carries it out when it is gone. */
export class Recoverer {
  readonly #run: SimRun;
  readonly #recovery: Recovery;
  readonly #random: Random;
  #known: BeforeForeign | null = null;
  /** Members in sync. */
  readonly #current = new Set<SimDisk>();
  /**
   * What users might have read when each disk left the array, in sync, if nothing has been written since to its data, which ended
   * at `endBlock`.
   */
  readonly #leftWith = new Map<SimDisk, { model: VolumeModel; endBlock: number }>();
  /** When each region was written last. */
  readonly #writtenAt = new Map<number, number>();
  /** Whether it is known which regions may be dirty on members. */
  #canTell = false;
  #good: readonly SimDisk[] = [];
  #crashedAt = 0;
  #withheld: readonly SimDisk[] = [];
  /** All members that the level needs are withheld, and the others may have been started without them: used apart. */
  #mayBeApart = false;

  constructor(run: SimRun, recovery: Recovery) {
    this.#run = run;
    this.#recovery = recovery;
    this.#random = new Random(recovery.draw, 24);
    if (recovery.kind === 'forced') for (const disk of run.disks) disk.onSubmit = (io) => this.#noteBefore(disk, io);
  }

  /** A plan for which disks are prepared: what was never written reads as zeros to another program only if it is zeros. */
  static itemsFor(recovery: Recovery | null): PlanItem[] {
    if (recovery?.kind !== 'foreign') return [];
    return [{ kind: 'foreign', at: 0, before: 'power', how: 'stop', mode: CutMode.KeepAll, writes: 0 }];
  }

  /** To be called at each operation of a device. */
  note(disk: SimDisk, { numBlocks, offsetBlocks, type }: BdevIo): void {
    if (this.#recovery.kind !== 'forced') return;
    this.#noteMembers();
    const array = this.#run.array();
    const dataFrom = this.#run.reservedBytes / disk.blockSize;
    if (type === IoType.Read || type === IoType.Flush || offsetBlocks < dataFrom) return;
    // It is being filled: what it holds is neither old nor new any more. What it has behind that is for a growth.
    if (!this.#current.has(disk) && offsetBlocks < (this.#leftWith.get(disk)?.endBlock ?? 0)) this.#leftWith.delete(disk);
    const slot = array?.slots.find(({ name }) => name === disk.name);
    if (slot !== undefined) this.#noteWritten(offsetBlocks - slot.dataOffset, numBlocks);
  }

  /** To be called before the first operation that {@link note} is told of: notes what is dirty already. */
  begin(): void {
    const { bitmap = null } = this.#run.array() ?? {};
    if (bitmap === null) return;
    for (const [region, state] of bitmap.states.entries())
      if (state === RegionState.Dirty) this.#writtenAt.set(region, this.#run.world.now);
  }

  #noteBefore(disk: SimDisk, io: BdevIo): undefined {
    this.note(disk, io);
  }

  /** Before an acknowledgement that a member has left by then, members are written to: so this sees it before. */
  #noteMembers(): void {
    const array = this.#run.array();
    if (array?.state !== 'online') return;
    for (const disk of this.#run.disks) {
      const isCurrent = array.slots.some(({ isInSync, name }) => isInSync && name === disk.name);
      if (isCurrent === this.#current.has(disk)) continue;
      if (isCurrent) {
        this.#current.add(disk);
        this.#leftWith.delete(disk);
      } else {
        this.#current.delete(disk);
        const endBlock = Math.max(...array.slots.map(({ dataOffset, dataSize }) => dataOffset + dataSize));
        this.#leftWith.set(disk, { model: this.#run.model.snapshot(), endBlock });
      }
    }
  }

  #noteWritten(memberOffset: number, numBlocks: number): void {
    const { bitmap = null } = this.#run.array() ?? {};
    if (bitmap === null) return;
    const last = Math.floor((memberOffset + numBlocks - 1) / bitmap.regionBlocks);
    for (let region = Math.floor(memberOffset / bitmap.regionBlocks); region <= last; region++)
      this.#writtenAt.set(region, this.#run.world.now);
  }

  /** Notes writes of users for which a region may be marked dirty on members, and nowhere else yet. */
  #notePending(): void {
    const run = this.#run;
    const array = run.array();
    if (array?.currentGeometry?.stripe === undefined) return;
    const perBlock = array.blockSize / sectorBytes;
    for (const { firstSector, numSectors } of run.model.pending) {
      const { from, to } = array.memberRange(firstSector / perBlock, (firstSector + numSectors) / perBlock);
      this.#noteWritten(from, to - from);
    }
  }

  /** To be called before the process ends. Returns whether the recovery can be tried. */
  prepare({ how }: Ending): boolean {
    const run = this.#run;
    const array = run.array();
    if (!run.hasSuperblock || run.isTolerant || run.leniency.hasForgiven) return false;
    run.standing.refresh();
    this.#notePending();
    this.#canTell = array?.state === 'online';
    this.#crashedAt = run.world.now;
    this.#noteMembers();
    this.#good = [...run.standing.good];
    if (this.#recovery.kind === 'forced') return this.#good.length > 0;
    // Another program does not know the level's options, and where they define the layout it reads other blocks.
    if (run.module.optionsDefineLayout === true) return false;
    // The journal of an array that is not up names stripes that nobody here knows.
    if (run.isParity && (array?.state !== 'online' || array.bitmap === null)) return false;
    this.#known = beforeForeign(run, how);
    return true;
  }

  /** What comes before our start, whose operations are not counted. */
  async before(): Promise<void> {
    if (this.#known === null) return;
    const random = this.#random;
    const use: ForeignUse = {
      how: random.pick(['stop', 'stop', 'power', 'kill']),
      mode: random.pick([CutMode.KeepAll, CutMode.LoseAll, CutMode.Prefix, CutMode.Random]),
      writes: random.pick([0, 1, 4, 20]),
    };
    await runByOther(this.#run, use, this.#known);
  }

  /** Starts the array in a new process, in place of an ordinary start. */
  async start(): Promise<void> {
    if (this.#recovery.kind === 'foreign') await assemble(this.#run, -1);
    else await this.#startByForce();
  }

  /** A crash has cut the recovery short. Whether the array has to be started in the same way once more. */
  get mustRepeat(): boolean {
    return this.#mayBeApart;
  }

  async #startByForce(): Promise<void> {
    const run = this.#run;
    const random = this.#random;
    const withheld = this.#mayBeApart ? this.#withheld : this.#withhold();
    this.#withheld = withheld;
    const names = withheld.map(({ name }) => name).join(', ');
    run.world.trace(`== withheld: ${names}`);
    for (const disk of withheld) disk.isPresent = false;
    const stack = run.boot();
    for (const disk of random.shuffle(run.disks.filter(({ isPresent }) => isPresent)))
      await run.inTime(`examining ${disk.name}`, stack.plugIn(disk));
    await run.inTime('examining', stack.registry.waitForExamine());
    await run.world.sleep(10);
    const left = this.#good.filter((disk) => !withheld.includes(disk));
    const mustStart = run.isRedundant && run.canRunWith(left);
    this.#mayBeApart = !mustStart;
    const whenUp = run.up().then(() => this.#judge(withheld));
    const isUp = await this.#force(mustStart);
    if (isUp) {
      if (!run.isRedundant)
        throw new ViolationError(`G2: the array starts by force without ${names}, which it cannot do without`);
      await whenUp;
      run.coverage.mark(mustStart ? 'started by force without a member' : 'started by force from what is older');
      await run.readAll('after a forced start');
      await this.#use();
    } else {
      this.#mayBeApart = false;
      run.coverage.mark('refused by force, too');
    }
    for (const disk of withheld) comeBack(run, disk, 'same');
    if (isUp) return;
    await run.inTime('examining', stack.registry.waitForExamine());
    await run.world.sleep(10);
    if (run.volume !== null || stack.arrays.get(arrayName)?.state !== 'configuring') return;
    await run.call('a start with all members', stack.arrays.startDegraded(arrayName));
  }

  /** Draws which members are withheld: one, as many as can be lost, or all that are current where others left earlier. */
  #withhold(): readonly SimDisk[] {
    const run = this.#run;
    const random = this.#random;
    const good = random.shuffle(this.#good);
    const isMirror = run.module.redundancy === 'copies' && run.least === 1;
    if (isMirror && this.#leftWith.size > 0 && random.chance(0.7)) return good;
    const most = Math.max(1, random.int(1, Math.max(1, good.length - run.least)));
    return good.slice(0, most);
  }

  /** Returns whether the array came up. */
  async #force(mustStart: boolean): Promise<boolean> {
    const { stack } = this.#run;
    const array = stack?.arrays.get(arrayName);
    if (stack === null || array === undefined) {
      if (mustStart) throw new ViolationError('G10: the array is gone');
      return false;
    }
    try {
      await this.#run.inTime('a forced start', stack.arrays.startDegraded(arrayName, { force: true }));
      return true;
    } catch (error) {
      if (!RaidError.is(error)) throw error;
      if (mustStart) throw new ViolationError(`G8: the array does not start by force either: ${error.message}`);
      this.#run.world.trace(`== refused: ${error.message}`);
      return false;
    }
  }

  /** The array is up: notes what may be lost, before anything is read. */
  #judge(withheld: readonly SimDisk[]): void {
    const run = this.#run;
    const current = run.disks.filter((disk) => run.array()?.slots.some(({ isInSync, name }) => isInSync && name === disk.name));
    // In the order in which they left: the last one of them records the others as out.
    const models = [...this.#leftWith].filter(([disk]) => current.includes(disk)).map(([, { model }]) => model);
    const latest = models.at(-1);
    if (latest !== undefined && models.length === current.length && !current.some((disk) => this.#good.includes(disk))) {
      latest.powerCut();
      run.model.revertTo(latest);
      this.#leftWith.clear();
      return;
    }
    const since = this.#crashedAt - dirtyForMs;
    if (run.isParity && withheld.some((disk) => this.#good.includes(disk)))
      run.leniency.forgiveUnprotected((region) => !this.#canTell || (this.#writtenAt.get(region) ?? -Infinity) >= since);
  }

  async #use(): Promise<void> {
    const run = this.#run;
    const random = this.#random;
    for (let left = random.int(0, mostWrites); left > 0; left--) {
      const volume = await run.up();
      const count = random.int(1, mostBlocks);
      await run.io(volume, IoType.Write, random.int(0, volume.numBlocks - count), count);
    }
    const volume = await run.up();
    if (random.chance(0.7)) await run.io(volume, IoType.Flush, 0, volume.numBlocks);
  }
}
