import { IoType, flushTimeoutMultiplier } from '@raidkit/bdev';
import type { BdevIo, TimerHandle } from '@raidkit/bdev';
import type { MembersHost } from './host.js';
import type { Slot } from './slot.js';

/** A member that owes an answer for this part of the timeout is suspect. */
const suspectShare = 1 / 6;

/**
 * Watches that members answer. One that is late is suspect: mirrors read elsewhere, and people are told. When the deadline of
 * an I/O has passed, it is decided here whether to wait on: an I/O is given up, and its member failed (what was given up may
 * still be carried out, so nothing may use the device after that), if the array can go on with those that answer. If all are
 * silent, none is to blame, and the array waits.
 */
export class IoTimeouts {
  /** A look at the members is due; nothing to be done at an I/O. */
  isArmed = false;
  readonly #array: MembersHost;
  #timer: TimerHandle | null = null;

  constructor(array: MembersHost) {
    this.#array = array;
  }

  /** I/O is on its way to a member. */
  arm(): void {
    const { memberOptions, registry } = this.#array;
    if (this.isArmed || memberOptions.ioTimeoutMs === 0) return;
    this.isArmed = true;
    this.#timer = registry.runtime.setWatchTimer(this.#look, memberOptions.ioTimeoutMs * suspectShare);
  }

  stop(): void {
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
    this.isArmed = false;
  }

  /** To be called when options changed: I/O submitted from now on has the new deadline, whatever becomes of its member. */
  setDeadlines(): void {
    const { memberOptions, slots } = this.#array;
    for (const { descriptor, replacement } of slots) {
      if (descriptor !== null) descriptor.ioTimeoutMs = memberOptions.ioTimeoutMs;
      if (replacement !== null) replacement.descriptor.ioTimeoutMs = memberOptions.ioTimeoutMs;
    }
  }

  /** For how many milliseconds more an overdue I/O on the slot's member is waited for; 0: it is given up. */
  moreTime(slot: Slot, io: BdevIo): number {
    const array = this.#array;
    // No client's data depends on a member that is leaving or being filled, or on an array that is not up.
    if (!slot.isInSync || array.state !== 'online') return 0;
    const canGo = array.canRunWith((other) => other !== slot && other.isInSync && this.#answers(other, io));
    return canGo ? 0 : array.memberOptions.ioTimeoutMs * suspectShare;
  }

  /** Whether the slot's member has done of late what is asked of it, where another one is overdue. */
  #answers({ descriptor }: Slot, overdue: BdevIo): boolean {
    if (descriptor === null) return false;
    const { memberOptions, registry } = this.#array;
    const now = registry.runtime.now();
    const late = now - memberOptions.ioTimeoutMs * suspectShare;
    if (descriptor.bdev.oldestSubmittedAt > late) return true;
    // All of them may have much to flush.
    const mayBeSlow =
      overdue.type === IoType.Flush && now - overdue.submittedAt < memberOptions.ioTimeoutMs * flushTimeoutMultiplier;
    return !mayBeSlow && descriptor.bdev.lastAnswerAt > late;
  }

  readonly #look = (): void => {
    this.isArmed = false;
    this.#timer = null;
    const array = this.#array;
    const late = array.registry.runtime.now() - array.memberOptions.ioTimeoutMs * suspectShare;
    let isWorking = false;
    for (const slot of array.slots) {
      if (slot.partsInFlight > 0) isWorking = true;
      const { descriptor } = slot;
      const isLate = descriptor !== null && !slot.isRemoving && descriptor.bdev.oldestSubmittedAt <= late;
      if (isLate === slot.isUnresponsive) continue;
      slot.isUnresponsive = isLate;
      if (descriptor === null || slot.isRemoving) continue;
      const about = { array: array.name, slot: slot.index, member: descriptor.bdev.name };
      array.emit({ type: isLate ? 'memberSuspect' : 'memberAnswers', ...about });
      if (isLate) array.log.warn(array.logFields(slot), 'the member does not answer: it is suspect');
      else array.log.info(array.logFields(slot), 'the member answers again');
    }
    if (isWorking) this.arm();
  };
}
