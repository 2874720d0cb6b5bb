import type { Bdev, BdevDescriptor } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import type { Slot } from '../members/slot.js';
import { nullUuid } from '@raidkit/bdev';
import { goesWith, seqStep } from '../format/store.js';
import type { ArrayRecord, ExtensionHeader, ExtensionStore, MapLife } from '../format/store.js';

/**
 * Which device may be believed to be a member. One rule for each way in: what is not proved is refused, or filled anew, never
 * read.
 */

/**
 * Refuses to take a device as it is, without filling it: only an array that is being created has nothing to lose by that. One
 * that is put together from its superblocks takes those members that these name, and no others.
 */
export function requireCreation(array: RaidArray, bdev: Bdev): void {
  if (!array.isAssembled) return;
  const absent = awaitedSlots(array).map(({ index, recordedUuid }) => `slot ${index} (${recordedUuid})`);
  const what = absent.length === 0 ? 'cannot be started' : `waits for ${absent.join(', ')}`;
  const message = `array ${array.name} ${what}, and ${bdev.name} (${bdev.uuid}) is none of its current members: bring those, or start the array without them, and then add ${bdev.name}`;
  throw new RaidError('ERR_RAID_INVALID', 22, message);
}

/**
 * Refuses a device that carries this array's superblock and has no place there any more: it was replaced, and what it holds
 * is an old copy, or a mistake. `found` is that superblock; null for none. One that lists the device and does not count it in is
 * of a rebuild that a crash cut short before the others knew of it: the device never was a member, and is filled like any other.
 */
export function refuseFormerMember(array: RaidArray, bdev: Bdev, found: ArrayRecord | null): void {
  if (found === null || found.slots.some(({ state, uuid }) => uuid === bdev.uuid && state !== 'configured')) return;
  if (
    array.slots.some(
      ({ descriptor, recordedUuid }) => recordedUuid === bdev.uuid && (descriptor === null || descriptor.bdev === bdev),
    )
  )
    return;
  const message = `array ${array.name}: ${bdev.name} was a member once and is none any more: what is on it is an old copy; wipe it, and it is a device like any other`;
  throw new RaidError('ERR_RAID_SUPERBLOCK_FOUND', 17, message);
}

/** Slots whose member counts as current by the newest superblock, and is not there. */
export function awaitedSlots(array: RaidArray): RaidArray['slots'] {
  return array.slots.filter(({ descriptor, recordedUuid, uuid }) => {
    return descriptor === null && uuid !== nullUuid && uuid === recordedUuid && !array.assembly.nonFresh.has(uuid);
  });
}

/**
 * Whether the members that are not there could have gone on by themselves, with what those that are there know nothing of. A
 * copy of a mirror can; less than parity needs cannot, so that a program that went on had one of ours with it.
 */
export function mayHaveGoneOn(array: RaidArray): boolean {
  const awaited = awaitedSlots(array);
  return array.canRunWith((slot) => awaited.includes(slot));
}

/**
 * Our header names the member that it was written to; a device's uuid may have come to it from a configuration that says which
 * path has which. Gives the uuid of the member that the device is in truth; null if nothing contradicts its own. A header
 * counts if it goes with the superblock, or names another current member: SPDK runs arrays without keeping ours up.
 */
export function mistakenFor(bdev: Bdev, record: ArrayRecord, headers: readonly ExtensionHeader[]): string | null {
  for (const header of headers) {
    const { memberUuid } = header;
    if (memberUuid === bdev.uuid) continue;
    const isOfThisRecord = goesWith(header, record.seqNumber);
    const isOthers = record.slots.some(({ state, uuid }) => uuid === memberUuid && state === 'configured');
    if (isOfThisRecord || isOthers) return memberUuid;
  }
  return null;
}

/**
 * Lineages of which the device proves to be, by headers of its own: those that name it, and, if we wrote its superblock, go
 * with that. None for a member to which only SPDK wrote, or that has no headers.
 */
export function lineagesOf(bdev: Bdev, record: ArrayRecord, headers: readonly ExtensionHeader[]): ReadonlySet<string> {
  const isOurs = record.seqNumber % seqStep === 0;
  const own = headers.filter((header) => header.memberUuid === bdev.uuid && (!isOurs || goesWith(header, record.seqNumber)));
  return new Set(own.map(({ lineage }) => lineage));
}

/**
 * Whether the members that the array knows would not know a device that proves to be of these lineages: its superblock says that
 * it is one of theirs, and what we wrote on them does not bear that out.
 */
export function isStranger(array: RaidArray, lineages: ReadonlySet<string>): boolean {
  const known = new Set(array.assembly.lineages);
  if (array.state !== 'configuring' && array.extension !== undefined) known.add(array.metadata.lineage);
  return known.size > 0 && ![...lineages].some((lineage) => known.has(lineage));
}

/**
 * How many writes of pages of this life the device has taken, as the sum of their generations. Null if that cannot be read: it
 * proves nothing then, neither way.
 */
export async function pagesTakenBy(
  extension: ExtensionStore,
  descriptor: BdevDescriptor,
  life: MapLife,
  numRegions: number,
): Promise<number | null> {
  const newest = new Map<number, number>();
  try {
    for (const { index, generation } of await extension.readPages(descriptor, life, numRegions)) {
      newest.set(index, Math.max(generation, newest.get(index) ?? 0));
    }
  } catch {
    return null;
  }
  let taken = 0;
  for (const generation of newest.values()) taken += generation;
  return taken;
}

/**
 * Whether the device in the slot proves to be the slot's last member, as it was when it left: then it lacks what the map says,
 * and nothing else. An older image of it has taken fewer pages.
 */
export async function isAsItLeft(array: RaidArray, slot: Slot): Promise<boolean> {
  const { extension, bitmap } = array;
  const { descriptor } = slot;
  if (extension === undefined || bitmap === null || slot.recordedUuid !== descriptor?.bdev.uuid) return false;
  const headers = await extension.readHeaders(descriptor, array.uuid).catch((): ExtensionHeader[] => []);
  const isIts = headers.some(
    ({ incarnation, memberUuid }) => memberUuid === descriptor.bdev.uuid && incarnation === array.incarnation,
  );
  if (!isIts) return false;
  const taken = await pagesTakenBy(extension, descriptor, array, bitmap.states.length);
  return taken !== null && taken >= slot.pagesTaken;
}
