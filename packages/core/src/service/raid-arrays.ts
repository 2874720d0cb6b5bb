import { BdevError, nullUuid, Status } from '@raidkit/bdev';
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
import { closeArray, endArray, removeOnRequest } from '../membership/remove.js';
import type { RemoveOptions } from '../membership/remove.js';
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

/** Longest I/O timeout and grace period in milliseconds. */
const maxTimeoutMs = 3_600_000;

/**
 * The arrays of a registry: creates, deletes and assembles them, and manages their members. Methods that change an array throw
 * `ERR_RAID_NOT_FOUND` if there is none of that name.
 */
export class RaidArrays {
  /** The registry of bdevs that members come from and volumes are registered in. */
  readonly registry: BdevRegistry;
  /** The levels that arrays can be created with or assembled for. */
  readonly modules: RaidModuleRegistry;
  /** Limits of background processes; {@link setProcessOptions} changes them. */
  readonly processOptions: Readonly<ProcessOptions>;
  /** I/O timeout and grace period of members; {@link setMemberOptions} changes them. */
  readonly memberOptions: Readonly<MemberOptions>;
  /** How arrays are assembled; {@link setAssemblyOptions} changes it. */
  readonly assemblyOptions: Readonly<AssemblyOptions>;
  readonly #ctx: RaidContext;
  readonly #spares: Spares;
  readonly #examiner: Examiner;
  readonly #listeners = new Set<RaidEventListener>();

  /** Starts to examine the devices of the registry: arrays are assembled from devices with superblocks as these appear. */
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

  /**
   * Changes options for members. The timeout applies to I/O submitted from now on, and the grace period also to members that
   * are absent already. Values are 0 to 3,600,000 ms; throws `ERR_RAID_INVALID` for others.
   */
  setMemberOptions(options: Partial<MemberOptions>): void {
    for (const [key, value] of Object.entries(options)) {
      if (Number.isInteger(value) && value >= 0 && value <= maxTimeoutMs) continue;
      throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `${key} must be 0 to ${maxTimeoutMs} ms, not ${value}`);
    }
    Object.assign(this.#ctx.memberOptions, options);
    for (const array of this.#ctx.arrays.values()) {
      array.answers.setDeadlines();
      this.#spares.consider(array);
    }
  }

  /**
   * Changes limits of background processes, running ones included; they keep the size of their windows. Throws `ERR_RAID_INVALID` for a value that is no number
   * of 0 or more, and for windows of 0 KiB.
   */
  setProcessOptions(options: Partial<ProcessOptions>): void {
    for (const [key, value] of Object.entries(options)) {
      if (Number.isFinite(value) && value >= 0 && (value > 0 || key !== 'windowSizeKb')) continue;
      const least = key === 'windowSizeKb' ? 'more than 0' : '0 or more';
      throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `${key} must be ${least}, not ${value}`);
    }
    Object.assign(this.#ctx.processOptions, options);
  }

  /**
   * Changes how arrays are assembled, for devices that appear later. Throws `ERR_RAID_INVALID` for a time that is no number
   * of 0 or more.
   */
  setAssemblyOptions(options: Partial<AssemblyOptions>): void {
    const { absentWaitMs = 0, degradedStartMs = 0 } = options;
    for (const [key, value] of Object.entries({ absentWaitMs, degradedStartMs })) {
      if (!Number.isFinite(value) || value < 0)
        throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `${key} must be 0 or more, not ${value}`);
    }
    Object.assign(this.#ctx.assemblyOptions, options);
  }

  /** Adds a listener, which is called for every event until {@link off}. It must not throw. */
  on(listener: RaidEventListener): void {
    this.#listeners.add(listener);
  }

  /** Removes a listener. */
  off(listener: RaidEventListener): void {
    this.#listeners.delete(listener);
  }

  /** Returns the array of this name. */
  get(name: string): ArrayView | undefined {
    return this.#ctx.arrays.get(name);
  }

  /** Returns all arrays, or those in this state, in the order of creation. */
  list(state?: RaidState): ArrayView[] {
    const all = [...this.#ctx.arrays.values()];
    return state === undefined ? all : all.filter((array) => array.state === state);
  }

  /** Returns the array as `bdev_raid_get_bdevs` shows it. */
  describe(array: ArrayView): JsonObject {
    return describeArray(array);
  }

  /** Number of RAID I/O objects in use; 0 when nothing is in flight. */
  get iosOutstanding(): number {
    return this.#ctx.ios.outstanding;
  }

  /**
   * Creates an array. Resolves when it is online and its superblocks are written or, if members are missing, when it waits for
   * them. Rejects, leaving nothing behind, on an error; with ECANCELED if it is deleted meanwhile.
   */
  create(options: CreateArrayOptions): Promise<ArrayView> {
    return this.#taking(options.baseBdevs, () => createArray(this.#ctx, options));
  }

  /**
   * Ends an array: its volume is removed and its members are released; their superblocks stay unless `clearSuperblock` is set.
   * Resolves when all that is done. A creation or start in progress is cancelled first.
   */
  async delete(name: string, options: { clearSuperblock?: boolean } = {}): Promise<void> {
    const array = this.#find(name);
    if (array.isDeleting) throw new RaidError('ERR_RAID_BUSY', Status.Already, `array ${name} is being deleted already`);
    let members: Bdev[] = [];
    const end = array.lifecycle.end(() => {
      members = array.slots.flatMap(({ descriptor }) => descriptor?.bdev ?? []);
      // An array with superblocks comes back when its members are opened again.
      const isKept = array.store !== null && options.clearSuperblock !== true;
      return closeArray(this.#ctx, array, isKept ? 'it is being stopped' : 'it is being deleted');
    });
    await asRaidErrors(end);
    // Includes members that failed meanwhile, because a remaining superblock would bring the array back.
    if (options.clearSuperblock === true && array.store !== null)
      await asRaidErrors(clearSuperblocks(this.#ctx, array, array.store, members));
  }

  /**
   * Adds a device to an empty slot, and rebuilds it if the array is online; resolves when the rebuild is queued. An assembled
   * array that is waiting accepts only the members it waits for. Also refused if the device is a former member without a slot.
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
   * Adds a device to an empty slot or, if there is none, to a new slot if the level supports that while the array is online: a
   * further copy (raid1, raid10 with groups), which is rebuilt, or space after the existing blocks (concat). Resolves when the
   * rebuild is queued or the space is available. Refused if the level's layout depends on the number of slots.
   */
  async growBaseBdev(arrayName: string, bdevName: string): Promise<void> {
    const array = this.#find(arrayName);
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined)
      throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `array ${arrayName}: there is no bdev ${bdevName}`);
    const add = array.module.addedSlot === 'space' ? appendSpace : addCopy;
    await this.#taking([bdevName], () => add(this.#ctx, array, bdev));
  }

  /**
   * Removes a slot. Its member, if any, leaves permanently and its superblock is cleared. Resolves when the other members'
   * superblocks have one slot less. Refused if the level cannot have fewer copies, or the array cannot do without the member.
   */
  async removeSlot(arrayName: string, index: number): Promise<void> {
    const array = this.#find(arrayName);
    const slot = array.slots[index];
    if (slot === undefined)
      throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `array ${arrayName} has no slot ${index}`);
    await asRaidErrors(removeSlot(this.#ctx, array, slot));
  }

  /**
   * Replaces a member with a device while the member is in use. Resolves when the process, of type `replace`, is queued. When
   * it has ended, the former member is released.
   */
  async replaceBaseBdev(arrayName: string, memberName: string, bdevName: string): Promise<void> {
    const array = this.#find(arrayName);
    const slot = array.slots.find(({ name, descriptor }) => name === memberName && descriptor !== null);
    if (slot === undefined)
      throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `array ${arrayName} has no member ${memberName}`);
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `there is no bdev ${bdevName}`);
    await this.#taking([bdevName], () => replaceMember(this.#ctx, array, slot, bdev));
  }

  /**
   * Removes a member from the array that it belongs to. Resolves when the survivors have recorded that on stable media. Unless
   * forced, rejects with `ERR_RAID_BUSY` while blocks of the member could not be reconstructed without it, as during the resync
   * of an array with parity after a crash.
   */
  async removeBaseBdev(bdevName: string, options: RemoveOptions = {}): Promise<void> {
    for (const array of this.#ctx.arrays.values()) {
      const slot = array.slots.find(({ name, descriptor }) => name === bdevName && descriptor !== null);
      if (slot === undefined) continue;
      await removeOnRequest(this.#ctx, array, slot, 'it was removed on request', { force: options.force ?? false });
      return;
    }
    throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `no array has a member ${bdevName}`);
  }

  /**
   * Starts an array that waits for members with those that are present. Refused if they are too few for the level. Absent
   * members are recorded as out, and are rebuilt when they return. Refused, unless forced, if the array was not stopped cleanly
   * and data of an absent member would have to be reconstructed from parity that may be wrong; if forced, such blocks are
   * answered with EIO. `readOnly`: nothing is written to members, superblocks included, so that the array can be inspected
   * first.
   */
  async startDegraded(name: string, options: StartOptions = {}): Promise<void> {
    const array = this.#find(name);
    await array.lifecycle.whenStartEnded();
    if (array.state === 'online') return;
    if (array.state !== 'configuring' || array.isStarting) {
      throw new RaidError(
        'ERR_RAID_INVALID',
        Status.Invalid,
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
   * Declares parity to be right where a crash or a failed write may have left it wrong. Data of absent members is reconstructed
   * from it from now on, and may be something that was never written. Refused for levels without parity: of copies that differ,
   * reads could return any. Applies to I/O submitted afterwards.
   */
  trustRedundancy(name: string): void {
    trustRedundancy(this.#find(name));
  }

  /** Queues a check, repair or resync of an array. A repair of two copies is refused unless one of them is named. */
  startSync(name: string, type: 'resync' | 'check' | 'repair', options: SyncOptions = {}): void {
    const array = this.#find(name);
    checkCanSync(array, type);
    if (type === 'repair') checkCanRepair(array, options);
    checkFrom(array, type, options);
    if (options.maxBandwidthMbSec !== undefined) checkLimits(name, { maxBandwidthMbSec: options.maxBandwidthMbSec });
    startSync(this.#ctx, array, type, options);
  }

  /**
   * Changes how an online array with copies reads them. Resolves when its members have recorded that; rejects, without changing
   * anything, if it cannot be recorded. Refused for levels without copies.
   */
  async setReads(name: string, options: ReadOptions): Promise<void> {
    await asRaidErrors(setReads(this.#find(name), options));
  }

  /**
   * Turns on checksums of an online array. Resolves to true when its members have recorded that; a process of type `sum` then
   * gives checksums to existing data. Resolves to false if the array waits for space behind the data. Rejects, without changing
   * anything, if a member is absent, a background process is running, or there is no space.
   */
  async enableIntegrity(name: string, options: IntegrityOptions = {}): Promise<boolean> {
    return asRaidErrors(enableIntegrity(this.#ctx, this.#find(name), options));
  }

  /** Turns off checksums of an online array. Resolves when its members have recorded that. */
  async disableIntegrity(name: string): Promise<void> {
    await asRaidErrors(disableIntegrity(this.#ctx, this.#find(name)));
  }

  /** Makes the running process begin no new window until it is resumed. Throws if there is no process. */
  pauseProcess(name: string): void {
    this.#processOf(name).pause();
  }

  /** Resumes the running process. Throws if there is none. */
  resumeProcess(name: string): void {
    this.#processOf(name).resume();
  }

  /**
   * Stops the running process when its I/O in flight is done. {@link ArrayView.processEnded} resolves then, and the history has
   * `reason` as its error. Throws if there is no process.
   */
  cancelProcess(name: string, reason: string): void {
    this.#processOf(name).stop(new Error(reason));
  }

  /**
   * Gives the running process its own limits in MiB per second, 0 for no limit. Null restores the shared limit; an absent field
   * is left unchanged. Throws if there is no process, or a limit is not an integer from 0 to 2³² − 1.
   */
  limitProcess(name: string, limits: Partial<OwnLimits>): void {
    const process = this.#processOf(name);
    checkLimits(name, limits);
    process.setLimits(limits);
  }

  #processOf(name: string): RaidProcess {
    const { process } = this.#find(name);
    if (process === null) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NotFound, `array ${name} has no process`);
    return process;
  }

  /**
   * Fails a slot's member on request. Resolves when it has left and the other members' superblocks record that, or the array is
   * gone. Refused if the slot has no member, the array is not online, or it cannot do without the member; and, unless forced, as
   * {@link removeBaseBdev} is.
   */
  async failMember(name: string, slot: number, reason: string, options: RemoveOptions = {}): Promise<void> {
    await failMember(this.#find(name), slot, reason, options, this.#listeners);
  }

  /**
   * Adds an unclaimed device as a spare of the named array, or of any array. Refused if it has the superblock of an array or
   * data of other software. Spares are not recorded: the embedding program must add them again after a restart.
   */
  async addSpare(bdevName: string, arrayName: string | null = null): Promise<void> {
    const bdev = this.registry.get(bdevName);
    if (bdev === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `there is no bdev ${bdevName}`);
    if (arrayName !== null) this.#find(arrayName);
    await this.#taking([bdevName], () => this.#spares.add(bdev, arrayName));
  }

  /** Releases a spare. Throws `ERR_RAID_NOT_FOUND` if there is none of this name. */
  removeSpare(bdevName: string): void {
    this.#spares.remove(bdevName);
  }

  /** Returns the spares in the order in which they were added. */
  listSpares(): Spare[] {
    return this.#spares.list();
  }

  /** Erases what an array has recorded at the start of an unclaimed device: superblock, headers, map and journal. */
  wipe(bdevName: string): Promise<void> {
    return this.#taking([bdevName], () => wipe(this.#ctx, bdevName));
  }

  /**
   * Ends all arrays cleanly, keeping their superblocks; arrays whose volumes are members of others end after these. This is
   * permanent: devices that appear later are not examined, and no array can be created. Rejects, after all have ended, if one
   * did not end cleanly.
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

  /** Returns the newest array whose volume is not a member of another one. */
  #nextToEnd(): RaidArray | undefined {
    const newestFirst = [...this.#ctx.arrays.values()].reverse();
    return newestFirst.find(({ bdev }) => (bdev?.claimedBy ?? null) === null) ?? newestFirst[0];
  }

  /**
   * Examines a device as if it had just appeared, regardless of {@link RaidArraysOptions.mayExamine}. A volume with the
   * superblock of an array becomes a member of it, because the operator has asked for that.
   */
  examine(bdev: Bdev): Promise<void> {
    return this.registry.whileExamining(examine(this.#ctx, bdev, { isByHand: true }));
  }

  /** Returns the array whose volume the device is; undefined for any other device. */
  ofVolume(bdev: Bdev): ArrayView | undefined {
    return arrayOfVolume(this.#ctx, bdev);
  }

  /**
   * Declares that a volume is not a member of another array, for a volume of which that is unknown. Resolves when that is
   * recorded; rejects if it cannot be.
   */
  async declareNoMember(bdev: Bdev): Promise<void> {
    await recordOuter(this.#ctx, bdev, nullUuid);
  }

  #taking<T>(names: readonly (string | null)[], work: () => Promise<T>): Promise<T> {
    return asRaidErrors(whileTaking(this.#ctx, names, work));
  }

  #find(name: string): RaidArray {
    const array = this.#ctx.arrays.get(name);
    if (array === undefined) throw new RaidError('ERR_RAID_NOT_FOUND', Status.NoDevice, `there is no array ${name}`);
    return array;
  }
}

/** Awaits `work`, and converts errors of members to `RaidError`. */
async function asRaidErrors<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw asRaidError(error);
  }
}

/** Converts an error of a member's device to a `RaidError`. */
function asRaidError(error: unknown): unknown {
  return BdevError.is(error) ? new RaidError('ERR_RAID_MEMBER', error.errno, error.message, { cause: error }) : error;
}
