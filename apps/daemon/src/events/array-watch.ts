import type { RaidArray, RaidArrays, RaidEvent } from '@raidkit/core';
import { healthOf } from '@raidkit/core';
import { cancelledReason } from '../cancelled.js';
import type { EventName, EventReport, Severity } from './event.js';

/** Milliseconds between two checks for changes that core does not report as events. */
const lookMs = 1000;
/** Milliseconds that an array may wait for members before that is an event. */
const waitingMs = 10_000;
/** Percentage between two progress events of a process, as in mdadm. */
const progressStep = 20;

/** What was reported about an array so far. */
interface Told {
  /** The array has been online before, so it is not new the next time. */
  isKnown: boolean;
  isWaiting: boolean;
  isFailed: boolean;
  /** A problem was reported, to which {@link Told.degradedAt} or `ArrayOptimal` refers. */
  isTroubled: boolean;
  /** When the array was last reported as degraded; null while it is not. */
  degradedAt: number | null;
  waitsSince: number | null;
  /** Percentage of the running process that was reported. */
  progress: number;
  /** Errors of members, by slot. */
  errors: number[];
}

/** Turns core's events and changes of arrays' state into events with mdadm's names and raidkit's own. */
export class ArrayWatch {
  readonly #arrays: RaidArrays;
  readonly #tell: (report: EventReport) => void;
  readonly #remindMs: number;
  readonly #told = new WeakMap<RaidArray, Told>();
  readonly #listener = (event: RaidEvent): void => this.#onEvent(event);
  readonly #timer: NodeJS.Timeout;

  /** `remindMs`: milliseconds between reminders that an array is degraded; 0 for never. */
  constructor(arrays: RaidArrays, tell: (report: EventReport) => void, remindMs: number) {
    this.#arrays = arrays;
    this.#tell = tell;
    this.#remindMs = remindMs;
    arrays.on(this.#listener);
    this.#timer = setInterval(() => this.#look(), lookMs);
    this.#timer.unref();
  }

  /** Stops reporting. */
  end(): void {
    this.#arrays.off(this.#listener);
    clearInterval(this.#timer);
  }

  #onEvent(event: RaidEvent): void {
    const array = this.#arrays.get(event.array);
    switch (event.type) {
      case 'arrayOnline':
        if (array !== undefined) this.#online(array);
        return;
      case 'arrayOffline':
        // An array that is stopped in an orderly way has an event of its own.
        if (event.isOrderly) return;
        this.#say('ArrayOffline', 'critical', event.array, null, `array ${event.array} is offline: ${event.reason}`);
        if (array !== undefined) this.#toldOf(array).isTroubled = true;
        return;
      case 'arrayRemoved':
        this.#say('DeviceDisappeared', 'warning', event.array, null, `array ${event.array} was stopped or deleted`);
        return;
      case 'arrayResized':
        this.#say('ArrayResized', 'info', event.array, null, `array ${event.array} has ${event.numBlocks} blocks now`);
        return;
      case 'memberAdded':
        this.#say('DeviceAdded', 'info', event.array, event.member, `${placeOf(event)} has been added`);
        return;
      case 'memberRemoved': {
        const [name, severity, what] = event.isRequested
          ? (['DeviceRemoved', 'warning', 'has been removed'] as const)
          : (['Fail', 'critical', 'has failed'] as const);
        this.#lost(name, severity, event, `${placeOf(event)} ${what}: ${event.reason}`);
        return;
      }
      case 'memberFailed': {
        const what = event.wasFilled ? 'has failed during its rebuild' : 'has failed';
        this.#lost(event.wasFilled ? 'FailSpare' : 'Fail', 'critical', event, `${placeOf(event)} ${what}: ${event.reason}`);
        return;
      }
      case 'memberUnresponsive':
        this.#say('DeviceSlow', 'warning', event.array, event.member, `${placeOf(event)} does not respond`);
        return;
      case 'memberAnswers':
        this.#say('DeviceAnswers', 'info', event.array, event.member, `${placeOf(event)} responds again`);
        return;
      case 'spareActivated':
        this.#say('MoveSpare', 'info', event.array, event.member, `${placeOf(event)} was a spare, and fills the empty slot`);
        return;
      case 'processStarted':
        if (array !== undefined) this.#toldOf(array).progress = 0;
        for (const target of targetsOf(event))
          this.#say('RebuildStarted', 'info', event.array, target, `${workOf({ ...event, target })} has started`);
        return;
      case 'checksumError':
        // All errors within a second are reported as one event: see `#errors`.
        return;
      case 'processFinished':
        this.#finished(event, array);
    }
  }

  #online(array: RaidArray): void {
    const told = this.#toldOf(array);
    const isNew = !told.isKnown;
    told.isKnown = true;
    told.waitsSince = null;
    told.isWaiting = false;
    if (isNew) this.#say('NewArray', 'info', array.name, null, `array ${array.name} is online`);
    if (isNew && array.numInSync < array.numSlots) this.#degraded(array, 'is online');
    else this.#mended(array);
  }

  #degraded(array: RaidArray, how: string): void {
    const told = this.#toldOf(array);
    told.degradedAt = performance.now();
    told.isTroubled = true;
    const absent = array.slots.filter(({ isInSync }) => !isInSync).map(nameOfSlot);
    const message = `array ${array.name} is degraded: it ${how} without ${absent.join(', ')}`;
    this.#say('DegradedArray', 'warning', array.name, null, message);
  }

  #mended(array: RaidArray): void {
    const told = this.#toldOf(array);
    if (!told.isTroubled || healthOf(array).health !== 'optimal') return;
    told.isTroubled = false;
    told.isFailed = false;
    told.degradedAt = null;
    this.#say('ArrayOptimal', 'info', array.name, null, `array ${array.name} has all its members, in sync`);
  }

  /** A member has been lost, which degrades the array if it is still online. */
  #lost(
    name: EventName,
    severity: Severity,
    about: { array: string; member: string; goesWithSlot?: boolean },
    message: string,
  ): void {
    const array = this.#arrays.get(about.array);
    const isDegraded = about.goesWithSlot !== true && array?.state === 'online' && array.numInSync < array.numSlots;
    if (array !== undefined && isDegraded) {
      const told = this.#toldOf(array);
      told.isTroubled = true;
      told.degradedAt = performance.now();
    }
    this.#say(name, severity, about.array, about.member, isDegraded ? `${message}; the array is degraded` : message);
  }

  #finished(event: RaidEvent & { type: 'processFinished' }, array: RaidArray | undefined): void {
    const { error, process } = event;
    const record = array?.history.find(({ type }) => type === process);
    const mismatches = record?.mismatchBlocks ?? 0;
    const found = process === 'check' || process === 'repair' ? `; ${blocks(mismatches)} with mismatches` : '';
    const end = error === null ? `has ended${found}` : `did not complete: ${error}`;
    const isFilling = process === 'rebuild' || process === 'replace';
    const severity = error === null || error === cancelledReason ? 'info' : 'warning';
    for (const target of targetsOf(event)) {
      this.#say('RebuildFinished', severity, event.array, target, `${workOf({ ...event, target })} ${end}`);
      if (!isFilling || error !== null) continue;
      const message = `${target ?? 'a device'} is an active member of array ${event.array}`;
      this.#say('SpareActive', 'info', event.array, target, message);
    }
    if (mismatches > 0 && process === 'check') {
      const message = `the check of array ${event.array} found ${blocks(mismatches)} where redundancy does not match the data`;
      this.#say('MismatchesFound', 'warning', event.array, null, message);
    }
    if (array !== undefined) this.#mended(array);
  }

  /** Checks what core has no events for: progress, errors, waiting, and problems that persist. */
  #look(): void {
    const now = performance.now();
    for (const array of this.#arrays.list()) {
      const told = this.#toldOf(array);
      const { health, reason } = healthOf(array);
      if (health === 'failed' && !told.isFailed) {
        told.isFailed = true;
        told.isTroubled = true;
        this.#say(
          'ArrayFailed',
          'critical',
          array.name,
          null,
          `array ${array.name} has failed: ${reason ?? 'the reason is unknown'}`,
        );
      }
      if (health === 'configuring') this.#waiting(array, told, now);
      if (array.state !== 'online') continue;
      this.#progress(array, told);
      this.#errors(array, told);
      this.#mended(array);
      if (health !== 'degraded') continue;
      // The loss of a member has an event of its own, once it is recorded.
      const isLeaving = array.slots.some(({ isRemoving }) => isRemoving);
      if (told.degradedAt === null && !isLeaving) this.#degraded(array, 'runs');
      else if (told.degradedAt !== null && this.#remindMs > 0 && now - told.degradedAt >= this.#remindMs)
        this.#degraded(array, 'still runs');
    }
  }

  #waiting(array: RaidArray, told: Told, now: number): void {
    told.waitsSince ??= now;
    if (told.isWaiting || now - told.waitsSince < waitingMs) return;
    told.isWaiting = true;
    told.isTroubled = true;
    const absent = array.slots.filter(({ isConfigured }) => !isConfigured).map(nameOfSlot);
    const message = `array ${array.name} is not online: it waits for ${absent.length === 0 ? 'its start' : absent.join(', ')}`;
    this.#say('ArrayWaiting', 'critical', array.name, null, message);
  }

  #progress({ name, numBlocks, process }: RaidArray, told: Told): void {
    if (process === null || numBlocks === 0) return;
    const percent = Math.floor(((process.offsetBlocks / numBlocks) * 100) / progressStep) * progressStep;
    if (percent <= told.progress || percent >= 100) return;
    told.progress = percent;
    for (const target of targetsOf({ targets: process.targets.map((slot) => slot.name ?? '') })) {
      const about = { array: name, process: process.type, target };
      this.#say(`Rebuild${percent}`, 'info', name, target, `${workOf(about)} is at ${percent} %`);
    }
  }

  #errors(array: RaidArray, told: Told): void {
    for (const { errors, index, name } of array.slots) {
      const all = errorsIn(errors);
      const before = told.errors[index] ?? 0;
      told.errors[index] = all;
      if (all <= before || name === null) continue;
      const place = placeOf({ array: array.name, slot: index, member: name });
      const lies = errors.checksum > 0 ? `, ${errors.checksum} blocks with checksum mismatches` : '';
      const counts = `${errors.read} read and ${errors.write} write errors so far${lies}, ${errors.repaired} blocks rewritten from redundancy`;
      this.#say('DeviceErrors', 'warning', array.name, name, `${place} has errors: ${counts}`);
    }
  }

  #toldOf(array: RaidArray): Told {
    let told = this.#told.get(array);
    if (told === undefined) {
      told = {
        isKnown: false,
        isWaiting: false,
        isFailed: false,
        isTroubled: false,
        degradedAt: null,
        waitsSince: null,
        progress: 0,
        // Errors that the array has at first happened earlier.
        errors: array.slots.map(({ errors }) => errorsIn(errors)),
      };
      this.#told.set(array, told);
    }
    return told;
  }

  #say(event: EventName, severity: Severity, array: string, device: string | null, message: string): void {
    this.#tell({ event, severity, array, device, message });
  }
}

function blocks(count: number): string {
  return count === 1 ? '1 block' : `${count} blocks`;
}

function errorsIn({ checksum, read, write }: RaidArray['slots'][number]['errors']): number {
  return read + write + checksum;
}

function placeOf({ array, member, slot }: { array: string; member: string; slot: number }): string {
  return `${member} (slot ${slot} of array ${array})`;
}

/**
 * A process that fills several members is reported for each of them, so that each has its end; one without targets is reported
 * once.
 */
function targetsOf({ targets }: { targets: readonly string[] }): readonly (string | null)[] {
  return targets.length === 0 ? [null] : targets;
}

function workOf({ array, process, target }: { array: string; process: string; target: string | null }): string {
  return `the ${process} of ${target === null ? '' : `${target} in `}array ${array}`;
}

function nameOfSlot({ awaitedName, index, lastMember, name }: RaidArray['slots'][number]): string {
  const known = name ?? lastMember?.name ?? awaitedName;
  return `slot ${index}${known === null ? '' : ` (${known})`}`;
}
