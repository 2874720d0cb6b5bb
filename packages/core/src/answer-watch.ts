import type { TimerHandle } from '@raidkit/bdev';
import type { RaidArray } from './array.js';

/** A member that owes an answer for this part of the timeout is suspect. */
const suspectShare = 1 / 6;

/**
 * Watches that members answer. One that is late is suspect: mirrors read elsewhere, and people are told. One that does not
 * answer at all is failed by its I/O's deadline, which stands only where the array can do without the member: what was given
 * up may still be carried out, so nobody may use the device after that.
 */
export class AnswerWatch {
  /** A look at the members is due; nothing to be done at an I/O. */
  isArmed = false;
  readonly #array: RaidArray;
  #timer: TimerHandle | null = null;

  constructor(array: RaidArray) {
    this.#array = array;
  }

  /** I/O is on its way to a member. */
  arm(): void {
    const { memberOptions, registry } = this.#array;
    if (this.isArmed || memberOptions.ioTimeoutMs === 0) return;
    this.isArmed = true;
    this.#timer = registry.runtime.setTimer(this.#look, memberOptions.ioTimeoutMs * suspectShare);
  }

  stop(): void {
    if (this.#timer !== null) this.#array.registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
    this.isArmed = false;
  }

  /** To be called when members or options changed: I/O submitted from now on has the deadline that its member may miss. */
  setDeadlines(): void {
    const array = this.#array;
    for (const slot of array.slots) {
      if (slot.descriptor === null) continue;
      slot.descriptor.ioTimeoutMs = array.canDoWithout(slot) ? array.memberOptions.ioTimeoutMs : 0;
    }
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
      const isLate = descriptor !== null && !slot.isLeaving && descriptor.bdev.oldestSubmittedAt <= late;
      if (isLate === slot.isSuspect) continue;
      slot.isSuspect = isLate;
      if (descriptor === null || slot.isLeaving) continue;
      const about = { array: array.name, slot: slot.index, member: descriptor.bdev.name };
      array.emit({ type: isLate ? 'memberSuspect' : 'memberAnswers', ...about });
      if (isLate) array.log.warn(array.logFields(slot), 'the member does not answer: it is suspect');
      else array.log.info(array.logFields(slot), 'the member answers again');
    }
    if (isWorking) this.arm();
  };
}
