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
    // The next member may have another offset. Like SPDK, this shows 0 until it is there.
    data_offset: slot.isRemoved ? 0 : slot.dataOffset,
    data_size: slot.dataSize,
  };
}

/** SPDK knows no process other than a rebuild. A queued rebuild is shown without progress. */
function describeRebuild({ process, slots }: ArrayView): JsonObject {
  if (process?.type === 'rebuild') return { process: process.describe() };
  const target = slots.find(({ role }) => role === 'rebuilding');
  if (target === undefined) return {};
  return { process: { type: 'rebuild', target: target.name, progress: { blocks: 0, percent: 0 } } };
}

/** Most facts of a level that are shown, and longest text among them in characters. */
const mostFacts = 32;
const mostCharacters = 256;

/**
 * Returns the level's facts about the array, without values that people cannot read. Empty if the level throws an exception.
 */
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

/** Returns an array as `bdev_raid_get_bdevs` shows it, with SPDK's fields in SPDK's order. */
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
 * Returns the device name of the slot for recreating the array. For a slot without a member it is a name that no device has. In
 * an array with redundancy that is also used for a member that has left or is being filled, since it lacks data and without
 * superblocks only this name records that. An array without redundancy gets no writes after it has lost a member.
 */
function savedName(array: ArrayView, slot: SlotView): string {
  const placeholder = `removed_base_bdev_${slot.index}`;
  const canGoOnWithout = array.module.redundancy !== 'none';
  if (canGoOnWithout && (slot.isRebuilding || slot.isRemoved)) return placeholder;
  return slot.name ?? slot.awaitedName ?? placeholder;
}

/** Returns the read settings that differ from the defaults. A slot without a member has none. */
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

/** Returns the RPC call that recreates the array; null if it is assembled from superblocks. */
export function describeConfig(array: ArrayView): { method: string; params: JsonObject } | null {
  if (array.hasSuperblock) return null;
  const strip = array.stripSizeKb === 0 ? {} : { strip_size_kb: array.stripSizeKb };
  const params = {
    name: array.name,
    uuid: array.uuid,
    ...strip,
    raid_level: array.module.level,
    // Without this parameter, a mirror with one member is refused as a mistake, as by SPDK.
    ...(array.numSlots === 1 && array.module.redundancy !== 'none' ? { single: true } : {}),
    base_bdevs: array.slots.map((slot) => savedName(array, slot)),
    ...(Object.keys(array.options).length === 0 ? {} : { level_options: array.options as JsonObject }),
    ...describeReads(array),
  };
  return { method: 'bdev_raid_create', params };
}
