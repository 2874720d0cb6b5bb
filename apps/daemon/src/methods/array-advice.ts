import { healthOf } from '@raidkit/core';
import type { Health, RaidArray, Slot } from '@raidkit/core';

/** Health of an array, the reason, and what to do about it. */
export interface Advice {
  health: Health;
  /** Null only if nothing is wrong. */
  reason: string | null;
  /** Null if nothing needs to be done. */
  action: string | null;
}

/**
 * Describes an array's health. Every array that is not optimal has a reason and an action.
 *
 * @param wentOffline why it went offline, if it did; null if that is not known
 */
export function adviceFor(array: RaidArray, wentOffline: string | null): Advice {
  const { health, reason } = healthOf(array);
  const absent = array.slots.filter((slot) => !slot.isConfigured);
  const names = absent.map(describeSlot).join(', ');
  switch (health) {
    case 'optimal':
      return { health, reason: reason ?? describeUnproven(array), action: null };
    case 'resyncing':
      return {
        health,
        reason:
          reason ??
          (array.process?.type === 'resum'
            ? 'after an unclean stop, or a run by another program, blocks that were being written get checksums of their present contents'
            : 'after an unclean stop, redundancy is being made consistent with the data'),
        action: refusalAction(array),
      };
    case 'rebuilding':
      return { health, reason: reason ?? `${describeTargets(array)} is being rebuilt`, action: null };
    case 'degraded':
      return { health, reason: reason ?? `the array runs without ${names}`, action: replaceAction(absent) };
    case 'configuring':
      return configuring(array, absent, names, reason);
    case 'offline':
      return {
        health,
        reason: reason ?? wentOffline ?? `it has lost more members than it can do without: ${names}`,
        action: `bring ${names === '' ? 'its members' : names} back: the array then starts automatically; or stop it with raidkit_stop`,
      };
    case 'failed':
      if (array.state === 'online')
        return {
          health,
          reason,
          action: 'save what can still be read, replace the device that failed, then stop the array and start it again',
        };
      return { health, reason, action: `${startAction(array, absent)}; raidkit_examine shows the superblock of a device` };
  }
}

/** Whether the array waits for members and can run without the absent ones. */
export function canStartDegraded(array: RaidArray): boolean {
  return array.state === 'configuring' && !array.isStarting && array.canRunWith(isDiscovered);
}

/** Names of devices whose superblocks name this array, but which the array's members do not list. */
export function rivalNames({ registry, strangers }: RaidArray): string[] {
  return [...strangers.keys()].flatMap((uuid) => {
    const bdev = registry.get(uuid);
    return bdev?.state === 'registered' ? [bdev.name] : [];
  });
}

const isDiscovered = (slot: Slot): boolean => slot.isOperational;

function configuring(array: RaidArray, absent: readonly Slot[], names: string, startError: string | null): Advice {
  const health = 'configuring';
  if (array.isStarting) return { health, reason: 'it is being started', action: null };
  if (absent.length === 0) return { health, reason: 'all members are present, and the array is about to start', action: null };
  const enough = array.canRunWith(isDiscovered);
  const reason = enough
    ? `it waits for ${names}; ${array.numDiscovered} members of ${array.numSlots} are present, with which it could start`
    : `it waits for ${names}; ${array.numDiscovered} members of ${array.numSlots} are present, and it cannot start: ${array.whyNotWith(isDiscovered)}`;
  const whole = startError === null ? reason : `${reason}; ${startError}`;
  return { health, reason: whole, action: startAction(array, absent) };
}

function startAction(array: RaidArray, absent: readonly Slot[]): string {
  if (absent.length === 0) return 'fix the reason, and start the array with raidkit_assemble';
  const bring = `open ${absent.length === 1 ? 'the device' : 'the devices'} of ${absent.map(describeSlot).join(', ')}`;
  if (!array.canRunWith(isDiscovered)) return bring;
  return `${bring}; or, if ${absent.length === 1 ? 'it is' : 'they are'} lost, start the array without ${absent.length === 1 ? 'it' : 'them'} with raidkit_assemble`;
}

/** What to do about members that refuse the writes of a resync; null if there are none. */
function refusalAction({ slots }: RaidArray): string | null {
  const refusing = slots.filter(({ isInSync, refusedResyncs }) => isInSync && refusedResyncs > 0);
  if (refusing.length === 0) return null;
  return `if this goes on, replace ${refusing.map(describeSlot).join(', ')} with raidkit_replace: it can be read, and is copied`;
}

function replaceAction(absent: readonly Slot[]): string {
  return `bring the device back, or add another one with bdev_raid_add_base_bdev${absent.length > 1 ? ', for each of them' : ''}; a spare (raidkit_add_spare) does that automatically`;
}

function describeTargets({ slots }: RaidArray): string {
  return slots
    .filter(({ isRebuilding }) => isRebuilding)
    .map((slot) => describeSlot(slot))
    .join(', ');
}

/** Describes a slot, such as `slot 1 (sdb)`, with the name of its present or last member, or the uuid that it waits for. */
function describeSlot({
  index,
  name,
  awaitedName,
  lastMember,
  recordedUuid,
  uuid,
  absence,
  isConfigured,
  isRemoved,
}: Slot): string {
  const known = name ?? lastMember?.name ?? awaitedName ?? (isZero(recordedUuid) ? uuid : recordedUuid);
  const who = isZero(known) ? '' : ` (${known})`;
  return `slot ${index}${who}${!isConfigured && isRemoved && absence === 'failed' ? ', which failed' : ''}`;
}

function isZero(uuid: string): boolean {
  return /^[0-]+$/.test(uuid);
}

/** Describes which checksums are still missing; null if none are. */
function describeUnproven({ isUnproven, wantsIntegrity }: RaidArray): string | null {
  if (wantsIntegrity) return 'it gets checksums as soon as its members have room for them';
  return isUnproven ? 'some blocks do not have checksums yet: these are not verified' : null;
}
