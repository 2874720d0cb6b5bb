import type { Bdev, BdevDescriptor } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';
import type { Slot } from '../members/slot.js';
import { nullUuid, Status } from '@raidkit/bdev';
import { goesWith, seqStep } from '../format/store.js';
import type { ArrayRecord, ExtensionHeader, ExtensionStore, MapLife } from '../format/store.js';

/**
 * Decides which devices are accepted as members. A device that is not proven to be one is refused or filled anew, but never
 * read.
 */

/**
 * Throws unless the array is being created. Only then can a device become a member without being filled. An assembled array
 * accepts only the members that its superblocks name.
 */
export function requireCreation(array: RaidArray, bdev: Bdev): void {
  if (!array.isAssembled) return;
  const absent = awaitedSlots(array).map(({ index, recordedUuid }) => `slot ${index} (${recordedUuid})`);
  const what = absent.length === 0 ? 'cannot be started' : `waits for ${absent.join(', ')}`;
  const message = `array ${array.name} ${what}, and ${bdev.name} (${bdev.uuid}) is not one of its current members: bring those back, or start the array without them, and then add ${bdev.name}`;
  throw new RaidError('ERR_RAID_INVALID', Status.Invalid, message);
}

/**
 * Throws if a device has this array's superblock `found` (null if it has none) but no slot in the array any more: it was
 * replaced, so its data is old. A superblock that lists the device but not as current comes from a rebuild that a crash
 * interrupted; such a device never was a member and can be filled.
 */
export function refuseFormerMember(array: RaidArray, bdev: Bdev, found: ArrayRecord | null): void {
  if (found === null || found.slots.some(({ state, uuid }) => uuid === bdev.uuid && state !== 'configured')) return;
  if (
    array.slots.some(
      ({ descriptor, recordedUuid }) => recordedUuid === bdev.uuid && (descriptor === null || descriptor.bdev === bdev),
    )
  )
    return;
  const message = `array ${array.name}: ${bdev.name} was removed from the array: its data is stale; wipe it to use it as any other device`;
  throw new RaidError('ERR_RAID_SUPERBLOCK_FOUND', Status.Exists, message);
}

/** Returns the slots whose members are current by the newest superblock but absent. */
export function awaitedSlots(array: RaidArray): RaidArray['slots'] {
  return array.slots.filter(({ descriptor, recordedUuid, uuid }) => {
    return descriptor === null && uuid !== nullUuid && uuid === recordedUuid && !array.assembly.nonFresh.has(uuid);
  });
}

/**
 * Whether the absent members alone could have been used as an array, with changes that the present ones lack. That is possible
 * for a copy of a mirror. With parity it takes so many members that one of the present ones would have been among them.
 */
export function mayHaveGoneOn(array: RaidArray): boolean {
  const awaited = awaitedSlots(array);
  return array.canRunWith((slot) => awaited.includes(slot));
}

/**
 * Returns the uuid of the member that the device really is, if our header on it names another one; else null. A device can get
 * the wrong uuid from a configuration that maps paths to uuids. A header counts if it belongs to the superblock, or names
 * another current member: SPDK runs arrays without updating our headers.
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
 * Returns the lineages that the device proves by its own headers: those that name it and, if we wrote its superblock, belong to
 * that. Empty for a member that only SPDK has written, or that has no headers.
 */
export function lineagesOf(bdev: Bdev, record: ArrayRecord, headers: readonly ExtensionHeader[]): ReadonlySet<string> {
  const isOurs = record.seqNumber % seqStep === 0;
  const own = headers.filter((header) => header.memberUuid === bdev.uuid && (!isOurs || goesWith(header, record.seqNumber)));
  return new Set(own.map(({ lineage }) => lineage));
}

/**
 * Whether a device with these lineages is unknown to the array's members: its superblock claims membership, but their headers
 * do not confirm that.
 */
export function isStranger(array: RaidArray, lineages: ReadonlySet<string>): boolean {
  const known = new Set(array.assembly.lineages);
  if (array.state !== 'configuring' && array.extension !== undefined) known.add(array.metadata.lineage);
  return known.size > 0 && ![...lineages].some((lineage) => known.has(lineage));
}

/**
 * Returns the number of page writes of this incarnation that the device has, as the sum of their generations. Null if it cannot
 * be read, which proves nothing.
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
 * Whether the device in the slot is proven to be the slot's last member in the state in which it left, so that it lacks only
 * what the map records. An older image of it would have fewer page writes.
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
