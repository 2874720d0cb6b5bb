import type { RaidArray } from '../array/array.js';
import { recordedOptions } from '../level/options.js';
import type { ExtensionHeader } from '../format/store.js';

/** Also if another program ran the array since: that program knows nothing of what else is on record there. */
export function newestHeader(headers: readonly ExtensionHeader[]): ExtensionHeader | null {
  let newest: ExtensionHeader | null = null;
  for (const header of headers) if (newest === null || header.generation > newest.generation) newest = header;
  return newest;
}

/**
 * Until the array is started its level's options are those of the newest header that has been seen of it: which members it can
 * be without may depend on them. Throws if the level, as it is now, refuses them.
 */
export function adoptOptions(array: RaidArray, headers: readonly ExtensionHeader[]): void {
  const newest = newestHeader(headers);
  if (newest === null || newest.generation < array.assembly.optionsGeneration) return;
  array.options = recordedOptions(array.module, newest);
  array.integrity.adopt(newest);
  array.assembly.optionsGeneration = newest.generation;
}

/**
 * Which copies are read, as the newest header has it, and the newest one of the array's slots: also if another program ran the
 * array since, which knows nothing of it.
 */
export function adoptReadPolicy(array: RaidArray, latest: ExtensionHeader, bySlot: ExtensionHeader | null): void {
  array.setReadPolicy(latest.readPolicy);
  for (const slot of array.slots) slot.readPreference = bySlot?.slots[slot.index]?.readPreference ?? 'normal';
}
