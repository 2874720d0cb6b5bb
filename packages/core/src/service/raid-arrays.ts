import { BdevError, nullUuid } from '@raidkit/bdev';
import type { Bdev, BdevRegistry, Examiner, JsonObject } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import type { ArrayView } from '../array/array-view.js';
import type { MemberOptions } from '../members/host.js';
import { addAwaited, examine, examineDeferred } from '../assembly/assemble.js';
import type { AssemblyOptions, RaidContext } from '../array/context.js';
import type { CreateArrayOptions } from './create-options.js';
import { setReads } from './read-options.js';
import type { ReadOptions } from './read-options.js';
import { RaidError } from '../errors.js';
import type { RaidEventListener } from '../events.js';
import { describeArray } from '../array/info.js';
import { checkCanRepair, checkCanSync, checkFrom, checkLimits, startSync } from '../sync/start-process.js';
import { closeArray, endArray, removeMember } from '../membership/remove.js';
import { addCopy, addMember } from '../membership/add.js';
import { disableIntegrity, enableIntegrity } from '../membership/integrity.js';
import type { IntegrityOptions } from '../membership/integrity.js';
import { removeSlot } from '../membership/slots.js';
import { appendSpace } from '../membership/append.js';
import { arrayOfVolume, recordOuter } from '../membership/nesting.js';
import type { RaidState } from '../lifecycle.js';
import type { RaidModuleRegistry } from '../level/registry.js';
import { bringOnline } from '../start/start.js';
import type { StartOptions } from '../start/start.js';
import type { RaidProcess } from '../sync/process.js';
import type { OwnLimits, ProcessOptions, SyncOptions } from '../sync/task.js';
import { replaceMember } from '../membership/replace.js';
import { Spares } from '../membership/spares.js';
import type { Spare } from '../membership/spares.js';
import { clearSuperblocks, wipe } from './clear.js';
import { newContext } from './context.js';
import { createArray } from './create.js';
import { failMember } from './fail-member.js';
import type { RaidArraysOptions } from './options.js';
import { whileTaking } from './take.js';
import { trustRedundancy } from './trust.js';

/** Longest time that a member may be given for an I/O, in milliseconds. */
const maxTimeoutMs = 3_600_000;

/** The arrays of a registry: creates, deletes and assembles them, and decides who joins and leaves. */
export class RaidArrays {
  readonly registry: BdevRegistry;
  readonly modules: RaidModuleRegistry;
  /** Applies to processes that run already, too. */
  readonly processOptions: ProcessOptions;
  readonly memberOptions: Readonly<MemberOptions>;
  /** Applies to devices that appear from now on. */
  readonly assemblyOptions: AssemblyOptions;
  readonly #ctx: RaidContext;
  readonly #spares: Spares;
  readonly #examiner: Examiner;
  readonly #listeners = new Set<RaidEventListener>();

  constructor(options: RaidArraysOptions) {
    this.registry = options.registry;
    this.modules = options.modules;
    const ctx = newContext(
      options,
      (event) => {
        for (const listener of [...this.#listeners]) listener(event);
      },
      (array) => this.#spares.consider(array),
    );
    this.processOptions = ctx.processOptions;
    this.memberOptions = ctx.memberOptions;
    this.assemblyOptions = ctx.assemblyOptions;
    this.#ctx = ctx;
    this.#spares = new Spares(ctx);
    this.on((event) => this.#spares.onEvent(event));
    this.#examiner = (bdev) => examine(ctx, bdev);
    this.registry.addExaminer(this.#examiner);
  }

  /** Applies to I/O that is submitted from now on, and to members that are away already. */
  setMemberOptions(options: Partial<MemberOptions>): void {
    for (const [key, value] of Object.entries(options)) {
      if (Number.isInteger(value) && value >= 0 && value <= maxTimeoutMs) continue;
      throw new RaidError('ERR_RAID_INVALID', 22, `${key} must be 0 to ${maxTimeoutMs} ms, not ${value}`);
    }
    Object.assign(this.memberOptions, options);
    for (const array of this.#ctx.arrays.values()) {
      array.answers.setDeadlines();
      this.#spares.consider(array);
    }
  }

  on(listener: RaidEventListener): void {
    this.#listeners.add(listener);
  }

  off(listener: RaidEventListener): void {
    this.#listeners.delete(listener);
  }

  get(name: string): ArrayView | undefined {
    return this.#ctx.arrays.get(name);
  }

  /** In the order of creation. */
  list(state?: RaidState): ArrayView[] {
    const all = [...this.#ctx.arrays.values()];
    return state === undefined ? all : all.filter((array) => array.state === state);
  }

  describe(array: ArrayView): JsonObject {
    return describeArray(array);
  }

  /** RAID I/O objects that are in use: 0 when nothing is in flight. */
  get iosOutstanding(): number {
    return this.#ctx.ios.outstanding;
  }

  /**
   * Makes an array. Resolves when it is online, with its superblocks written, or, if members are missing, when it waits for
   * them. On an error nothing is left of it. Deleted meanwhile, it rejects with ECANCELED.
   */
  create(options: CreateArrayOptions): Promise<ArrayView> {
    return this.#taking(options.baseBdevs, () => createArray(this.#ctx, options));
  }

  /**
   * Ends an array: its volume goes, its members are free again, their superblocks stay unless `clearSuperblock`. Resolves
   * when all that is done. A creation or start that is under way is called off first.
   */
  async delete(name: string, options: { clearSuperblock?: boolean } = {}): Promise<void> {
    const array = this.#find(name);
    if (array.isDeleting) throw new RaidError('ERR_RAID_BUSY', 114, `array ${name} is being deleted already`);
    let members: Bdev[] = [];
    const end = array.lifecycle.end(() => {
      members = array.slots.flatMap(({ descriptor }) => descriptor?.bdev ?? []);
      // One with superblocks comes back when its members are opened again.
      const isKept = array.store !== null && options.clearSuperblock !== true;
      return closeArray(this.#ctx, array, isKept ? 'it is being stopped' : 'it is being deleted');
    });
    await asRaidErrors(end);
    // Also on members that failed meanwhile: one that keeps its superblock would bring the array back.
    if (options.clearSuperblock === true && array.store !== null)
      await asRaidErrors(clearSuperblocks(this.#ctx, array, array.store, members));
  }

  /**
   * Puts a device into an empty slot, and rebuilds it if the array is online. Resolves when the rebuild has begun. An array
   * that waits for members takes only those. Refused, too, if the device was a member once and is none any more.
   */
  async addBaseBdev(arrayName: string, bdevName: string): Promise<void> {
    const array = this.#find(arrayName);
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) {
      const isFull = array.slots.every(({ descriptor }) => descriptor !== null);
      const message = `array ${arrayName}: there is no bdev ${bdevName}`;
      throw new RaidError(isFull ? 'ERR_RAID_INVALID' : 'ERR_RAID_NOT_FOUND', isFull ? 22 : 19, message);
    }
    const isAwaited = array.state === 'configuring' && array.isAssembled;
    await this.#taking([bdevName], () => (isAwaited ? addAwaited : addMember)(this.#ctx, array, bdev));
  }

  /**
   * Puts a device into an empty slot, or, if there is none, into a new one, where the level can have one more while the array is up:
   * a copy (raid1, raid10 with groups), which is filled, or space behind what there is (concat). Resolves when the rebuild has begun, or the space is
   * there. Refused where the number of slots says where data lies.
   */
  async growBaseBdev(arrayName: string, bdevName: string): Promise<void> {
    const array = this.#find(arrayName);
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `array ${arrayName}: there is no bdev ${bdevName}`);
    const add = array.module.addedSlot === 'space' ? appendSpace : addCopy;
    await this.#taking([bdevName], () => add(this.#ctx, array, bdev));
  }

  /**
   * Takes a slot away, with its member if it has one: that is out for good, and its superblock is cleared. Resolves when the others'
   * superblocks have one slot less. Refused if the level has no copies to spare, or the array cannot do without the member.
   */
  async removeSlot(arrayName: string, index: number): Promise<void> {
    const array = this.#find(arrayName);
    const slot = array.slots[index];
    if (slot === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `array ${arrayName} has no slot ${index}`);
    await asRaidErrors(removeSlot(this.#ctx, array, slot));
  }

  /**
   * Has a device take a member's place while the member still serves. Resolves when copying has begun; the process is called
   * `replace`. The member is free when it has ended.
   */
  async replaceBaseBdev(arrayName: string, memberName: string, bdevName: string): Promise<void> {
    const array = this.#find(arrayName);
    const slot = array.slots.find(({ name, descriptor }) => name === memberName && descriptor !== null);
    if (slot === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `array ${arrayName} has no member ${memberName}`);
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `there is no bdev ${bdevName}`);
    await this.#taking([bdevName], () => replaceMember(this.#ctx, array, slot, bdev));
  }

  /** Takes a member out of whichever array it is in. Resolves when that is on the survivors' stable media. */
  async removeBaseBdev(bdevName: string): Promise<void> {
    for (const array of this.#ctx.arrays.values()) {
      const slot = array.slots.find(({ name, descriptor }) => name === bdevName && descriptor !== null);
      if (slot === undefined) continue;
      slot.isRemovedByHand = true;
      await removeMember(this.#ctx, array, slot, 'it was removed on request');
      return;
    }
    throw new RaidError('ERR_RAID_NOT_FOUND', 19, `no array has a member ${bdevName}`);
  }

  /**
   * Starts an array that waits for members, with those that are there. Refused if they are fewer than the level needs. The
   * absent ones are recorded as out: they will be rebuilt when they come back. Refused, unless forced, if the array was not
   * stopped cleanly and an absent member would have to be worked out from parity that may be wrong: forced, such blocks answer
   * EIO. `readOnly`: nothing is written, not even who is there; for a look before anything is decided.
   */
  async startDegraded(name: string, options: StartOptions = {}): Promise<void> {
    const array = this.#find(name);
    await array.lifecycle.whenStartEnded();
    if (array.state === 'online') return;
    if (array.state !== 'configuring' || array.isStarting) {
      throw new RaidError(
        'ERR_RAID_INVALID',
        22,
        `array ${name} is ${array.state}: only one that is configuring can be started`,
      );
    }
    try {
      await asRaidErrors(bringOnline(this.#ctx, array, options));
    } finally {
      await examineDeferred(this.#ctx, array);
    }
  }

  /**
   * Takes a person's word that parity is right where a crash or a failed write may have left it wrong: what an absent member
   * held there is worked out from it from now on, and may be nothing that was ever written. Refused for copies: trusted
   * though they differ, each would be read. I/O that comes afterwards meets it trusted.
   */
  trustRedundancy(name: string): void {
    trustRedundancy(this.#find(name));
  }

  /**
   * Starts a check, repair or resync of a whole array; queued behind a process that is running. A repair of two copies is
   * refused unless one is named.
   */
  startSync(name: string, type: 'resync' | 'check' | 'repair', options: SyncOptions = {}): void {
    const array = this.#find(name);
    checkCanSync(array, type);
    if (type === 'repair') checkCanRepair(array, options);
    checkFrom(array, type, options);
    if (options.maxBandwidthMbSec !== undefined) checkLimits(name, { maxBandwidthMbSec: options.maxBandwidthMbSec });
    startSync(this.#ctx, array, type, options);
  }

  /**
   * Changes which copies of an array that is up are read. Resolves when that is on record on its members; rejects, with nothing
   * changed, if it cannot be recorded. Refused where a level has no copies.
   */
  async setReads(name: string, options: ReadOptions): Promise<void> {
    await asRaidErrors(setReads(this.#find(name), options));
  }

  /**
   * Gives an array that is up checksums of its members' blocks. Resolves when that is on record on its members: with true, and a process
   * `sum` gives them to what is there; with false if it waits for room behind the data. Rejects, with nothing changed, if it cannot be
   * done: a member is away, background work is running, or there is no room.
   */
  async enableIntegrity(name: string, options: IntegrityOptions = {}): Promise<boolean> {
    return asRaidErrors(enableIntegrity(this.#ctx, this.#find(name), options));
  }

  /** Takes an array's checksums away, while it is up. Resolves when that is on record on its members. */
  async disableIntegrity(name: string): Promise<void> {
    await asRaidErrors(disableIntegrity(this.#ctx, this.#find(name)));
  }

  /** The array's process begins no new window until it is resumed. Throws if none runs. */
  pauseProcess(name: string): void {
    this.#processOf(name).pause();
  }

  /** Throws if the array has no process. */
  resumeProcess(name: string): void {
    this.#processOf(name).resume();
  }

  /**
   * Ends the array's process once what is in flight is done; {@link ArrayView.processEnded} resolves then, and the history has `reason`.
   * Throws if none runs.
   */
  cancelProcess(name: string, reason: string): void {
    this.#processOf(name).stop(new Error(reason));
  }

  /**
   * Gives the array's process limits of its own; null: the shared ones again. What is left out stays. Throws if none runs, or a limit
   * is not a whole number from 0 to 2³² − 1.
   */
  limitProcess(name: string, limits: Partial<OwnLimits>): void {
    const process = this.#processOf(name);
    checkLimits(name, limits);
    if (limits.maxBandwidthMbSec !== undefined) process.maxBandwidthMbSec = limits.maxBandwidthMbSec;
    if (limits.minBandwidthMbSec !== undefined) process.minBandwidthMbSec = limits.minBandwidthMbSec;
  }

  #processOf(name: string): RaidProcess {
    const { process } = this.#find(name);
    if (process === null) throw new RaidError('ERR_RAID_NOT_FOUND', 2, `array ${name} has no process`);
    return process;
  }

  /**
   * Takes a slot's member out as if it had failed. Resolves when it is out, as the others' superblocks have it, or the array is gone.
   * Refused if the slot has no member, the array is not up, or it cannot do without the member.
   */
  async failMember(name: string, slot: number, reason: string): Promise<void> {
    await failMember(this.#find(name), slot, reason, this.#listeners);
  }

  /**
   * Makes a device that is not claimed a spare of the array of this name, or of any. Refused if it carries an array's
   * superblock or a file system. Spares are kept in memory only: the program that composes the arrays adds them again.
   */
  async addSpare(bdevName: string, arrayName: string | null = null): Promise<void> {
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `there is no bdev ${bdevName}`);
    if (arrayName !== null) this.#find(arrayName);
    await this.#taking([bdevName], () => this.#spares.add(bdev, arrayName));
  }

  removeSpare(bdevName: string): void {
    this.#spares.remove(bdevName);
  }

  /** In the order in which they were added. */
  listSpares(): Spare[] {
    return this.#spares.list();
  }

  /** Clears what arrays have left at the start of a device that is not claimed: superblock, header, map and journal. */
  wipe(bdevName: string): Promise<void> {
    return this.#taking([bdevName], () => wipe(this.#ctx, bdevName));
  }

  /**
   * Ends every array cleanly, superblocks kept, those that are members of others after these. For good: devices that appear
   * later are not examined, and no array can be created. Rejects, with all ended, if one of them did not end cleanly.
   */
  async stop(): Promise<void> {
    this.#ctx.retries.stop();
    this.registry.removeExaminer(this.#examiner);
    this.#spares.close();
    const failures: unknown[] = [];
    for (let array = this.#nextToEnd(); array !== undefined; array = this.#nextToEnd()) {
      await endArray(this.#ctx, array, 'the arrays are being stopped').catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw asRaidError(failures[0]);
  }

  /** The newest array that is no member of another one. */
  #nextToEnd(): RaidArray | undefined {
    const newestFirst = [...this.#ctx.arrays.values()].reverse();
    return newestFirst.find(({ bdev }) => (bdev?.claimedBy ?? null) === null) ?? newestFirst[0];
  }

  /**
   * Has a device examined, as if it had just appeared, whatever {@link RaidArraysOptions.mayExamine} says. A volume that carries an
   * array's superblock is that array's member from now on: a person has said so.
   */
  examine(bdev: Bdev): Promise<void> {
    return this.registry.whileExamining(examine(this.#ctx, bdev, { isByHand: true }));
  }

  /** The array whose volume the device is; undefined for any other device. */
  ofVolume(bdev: Bdev): ArrayView | undefined {
    return arrayOfVolume(this.#ctx, bdev);
  }

  /**
   * Declares a volume, of which it is not known whether it is a member of another array, to be none. Resolves when that is on
   * record; rejects if it cannot be.
   */
  async declareNoMember(bdev: Bdev): Promise<void> {
    await recordOuter(this.#ctx, bdev, nullUuid);
  }

  #taking<T>(names: readonly (string | null)[], work: () => Promise<T>): Promise<T> {
    return asRaidErrors(whileTaking(this.#ctx, names, work));
  }

  #find(name: string): RaidArray {
    const array = this.#ctx.arrays.get(name);
    if (array === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', 19, `there is no array ${name}`);
    return array;
  }
}

/** The same promise, but that what went wrong on a member is said as this package says it. */
async function asRaidErrors<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw asRaidError(error);
  }
}

/** What went wrong on a member, as this package says it. */
function asRaidError(error: unknown): unknown {
  return BdevError.is(error) ? new RaidError('ERR_RAID_MEMBER', error.errno, error.message, { cause: error }) : error;
}
