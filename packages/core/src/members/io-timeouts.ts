import { IoType, LookTimer, flushTimeoutMultiplier } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import type { MembersHost } from './host.js';
import type { Slot } from './slot.js';

/** A member is unresponsive when an I/O has taken this fraction of the timeout. */
const lateShare = 1 / 6;

/**
 * Watches that members complete their I/O. A late member is unresponsive: mirrors read elsewhere, and an event is emitted. When an
 * I/O times out, this class decides whether to keep waiting. If the array can continue with the members that still answer, the
 * I/O is given up and its member failed; the device may still execute such an I/O, so nothing may use it afterwards. If no
 * member answers, the cause is not a single member, and the array waits.
 */
export class IoTimeouts {
  readonly #array: MembersHost;
  readonly #timer = new LookTimer(() => this.#look());

  constructor(array: MembersHost) {
    this.#array = array;
  }

  /** The timer is set, so {@link arm} has nothing to do. */
  get isArmed(): boolean {
    return this.#timer.dueAt !== Infinity;
  }

  /** To be called when I/O is submitted to a member. */
  arm(): void {
    const { memberOptions, registry } = this.#array;
    if (this.isArmed || memberOptions.ioTimeoutMs === 0) return;
    this.#timer.set(registry.runtime, registry.runtime.now() + memberOptions.ioTimeoutMs * lateShare);
  }

  stop(): void {
    this.#timer.clear();
  }

  /** Applies changed options. I/O submitted from now on has the new timeout. */
  setDeadlines(): void {
    const { memberOptions, slots } = this.#array;
    for (const { descriptor, replacement } of slots) {
      if (descriptor !== null) descriptor.ioTimeoutMs = memberOptions.ioTimeoutMs;
      if (replacement !== null) replacement.descriptor.ioTimeoutMs = memberOptions.ioTimeoutMs;
    }
  }

  /**
   * Returns how many more milliseconds to wait for an overdue I/O on the slot's member; 0 to give it up. The I/O may be older
   * than the present timeout.
   */
  moreTime(slot: Slot, io: BdevIo): number {
    const array = this.#array;
    // Clients do not depend on a member that is leaving or being filled, nor on an array that is not online.
    if (!slot.isInSync || array.state !== 'online') return 0;
    if (array.memberOptions.ioTimeoutMs === 0) return Infinity;
    const isLeft = (other: Slot): boolean => other.isInSync && other.lossesToJudge === 0 && this.#answers(other, io);
    const canGo = array.canRunWith((other) => other !== slot && isLeft(other));
    if (!canGo) return array.memberOptions.ioTimeoutMs * lateShare;
    // The look that is to say so may be put off.
    this.#note(slot, true);
    return 0;
  }

  /** Whether the slot's member has answered recently, while another member's I/O is overdue. */
  #answers({ descriptor }: Slot, overdue: BdevIo): boolean {
    if (descriptor === null) return false;
    const { memberOptions, registry } = this.#array;
    const now = registry.runtime.now();
    const late = now - memberOptions.ioTimeoutMs * lateShare;
    if (descriptor.bdev.oldestSubmittedAt > late) return true;
    // If the overdue I/O is a flush, all members may have much to flush.
    const mayBeSlow =
      overdue.type === IoType.Flush && now - overdue.submittedAt < memberOptions.ioTimeoutMs * flushTimeoutMultiplier;
    return !mayBeSlow && descriptor.bdev.lastAnswerAt > late;
  }

  #look(): void {
    const array = this.#array;
    const { ioTimeoutMs } = array.memberOptions;
    // Without a timeout no member is late.
    const late = ioTimeoutMs === 0 ? -Infinity : array.registry.runtime.now() - ioTimeoutMs * lateShare;
    let isWorking = false;
    for (const slot of array.slots) {
      if (slot.partsInFlight > 0) isWorking = true;
      const { descriptor } = slot;
      this.#note(slot, descriptor !== null && !slot.isRemoving && descriptor.bdev.oldestSubmittedAt <= late);
    }
    if (isWorking) this.arm();
  }

  #note(slot: Slot, isSilent: boolean): void {
    if (isSilent === slot.isUnresponsive) return;
    slot.isUnresponsive = isSilent;
    const { descriptor } = slot;
    if (descriptor === null || slot.isRemoving) return;
    const array = this.#array;
    array.emit({
      type: isSilent ? 'memberUnresponsive' : 'memberAnswers',
      array: array.name,
      slot: slot.index,
      member: descriptor.bdev.name,
    });
    if (isSilent) array.log.warn(array.logFields(slot), 'the member does not respond: it is unresponsive');
    else array.log.info(array.logFields(slot), 'the member responds again');
  }
}
