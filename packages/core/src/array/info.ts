import type { JsonObject } from '@raidkit/bdev';
import { defaultReadPolicy } from '../format/read-policy.js';
import type { ReadPreference } from '../format/read-policy.js';
import type { LevelDescription } from '../level/level.js';
import type { SlotView } from '../members/slot-view.js';
import type { ArrayView } from './array-view.js';

function describeSlot(slot: SlotView): JsonObject {
  return {
    name: slot.name,
    uuid: slot.uuid,
    is_configured: slot.isOperational,
    // The next member may have another one; SPDK shows 0 until it is there.
    data_offset: slot.isRemoved ? 0 : slot.dataOffset,
    data_size: slot.dataSize,
  };
}

/** SPDK knows no other process than a rebuild. One that is queued has done nothing yet. */
function describeRebuild({ process, slots }: ArrayView): JsonObject {
  if (process?.type === 'rebuild') return { process: process.describe() };
  const target = slots.find(({ role }) => role === 'rebuilding');
  if (target === undefined) return {};
  return { process: { type: 'rebuild', target: target.name, progress: { blocks: 0, percent: 0 } } };
}

/** Most facts of a level's, and characters of a text among them, that are shown. */
const mostFacts = 32;
const mostCharacters = 256;

/** What the level says of the array. Only what people can read is passed on; a level that throws when it is asked says nothing. */
export function describeLevel({ level }: Pick<ArrayView, 'level'>): LevelDescription {
  let facts: unknown;
  try {
    facts = level?.describe?.();
  } catch {
    return {};
  }
  if (typeof facts !== 'object' || facts === null) return {};
  const shown = Object.entries(facts as Record<string, unknown>).filter(
    (fact): fact is [string, boolean | number | string] => /^[a-z][a-z0-9_]{0,63}$/.test(fact[0]) && isShown(fact[1]),
  );
  return Object.fromEntries(shown.slice(0, mostFacts));
}

function isShown(value: unknown): boolean {
  if (typeof value === 'string') return value.length <= mostCharacters;
  return typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value));
}

/** An array as `bdev_raid_get_bdevs` shows it: SPDK's fields in SPDK's order. */
export function describeArray(array: ArrayView): JsonObject {
  return {
    name: array.name,
    uuid: array.uuid,
    strip_size_kb: array.stripSizeKb,
    state: array.state,
    raid_level: array.module.level,
    superblock: array.hasSuperblock,
    ...(array.hasIntegrity ? { integrity: true } : {}),
    num_base_bdevs: array.numSlots,
    num_base_bdevs_discovered: array.numDiscovered,
    num_base_bdevs_operational: array.numOperational,
    ...describeRebuild(array),
    base_bdevs_list: array.slots.map(describeSlot),
  };
}

/**
 * Which device is to have the slot when the array is made again. A slot without one keeps its place, by a name that no device
 * has: of an array with redundancy, a member that has left, or is being filled, does not hold what the others hold, and without
 * superblocks nothing but this name says so. An array without redundancy has not been written to since it lost one.
 */
function savedName(array: ArrayView, slot: SlotView): string {
  const placeholder = `removed_base_bdev_${slot.index}`;
  const canGoOnWithout = array.module.redundancy !== 'none';
  if (canGoOnWithout && (slot.isRebuilding || slot.isRemoved)) return placeholder;
  return slot.name ?? slot.awaitedName ?? placeholder;
}

/** Which copies are read, where that is not as usual. A slot without a member has nothing to be read. */
function describeReads(array: ArrayView): JsonObject {
  const namesOf = (wanted: ReadPreference): string[] =>
    array.slots.filter(({ readPreference }) => readPreference === wanted).map((slot) => savedName(array, slot));
  const [prefer, writeMostly] = [namesOf('prefer'), namesOf('write-mostly')];
  return {
    ...(array.readPolicy === defaultReadPolicy ? {} : { read_policy: array.readPolicy }),
    ...(prefer.length === 0 ? {} : { prefer }),
    ...(writeMostly.length === 0 ? {} : { write_mostly: writeMostly }),
  };
}

/** The call that would make the array again; null for one that its superblocks bring back. */
export function describeConfig(array: ArrayView): { method: string; params: JsonObject } | null {
  if (array.hasSuperblock) return null;
  const strip = array.stripSizeKb === 0 ? {} : { strip_size_kb: array.stripSizeKb };
  const params = {
    name: array.name,
    uuid: array.uuid,
    ...strip,
    raid_level: array.module.level,
    // Without this word a mirror of one is taken for a mistake, as by SPDK.
    ...(array.numSlots === 1 && array.module.redundancy !== 'none' ? { single: true } : {}),
    base_bdevs: array.slots.map((slot) => savedName(array, slot)),
    ...(Object.keys(array.options).length === 0 ? {} : { level_options: array.options as JsonObject }),
    ...describeReads(array),
  };
  return { method: 'bdev_raid_create', params };
}
