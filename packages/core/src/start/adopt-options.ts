import type { RaidArray } from '../array/array.js';
import { recordedOptions } from '../level/options.js';
import type { ExtensionHeader } from '../format/store.js';

/**
 * Returns the newest header, even if another program has run the array since, because such a program does not change the facts
 * in it.
 */
export function newestHeader(headers: readonly ExtensionHeader[]): ExtensionHeader | null {
  let newest: ExtensionHeader | null = null;
  for (const header of headers) if (newest === null || header.generation > newest.generation) newest = header;
  return newest;
}

/**
 * Sets the level's options, until the array is started, from the newest header seen so far, because they determine which
 * members the array can be without. Throws if the level, in its present version, refuses them.
 */
export function adoptOptions(array: RaidArray, headers: readonly ExtensionHeader[]): void {
  const newest = newestHeader(headers);
  if (newest === null || newest.generation < array.assembly.optionsGeneration) return;
  array.options = recordedOptions(array.module, newest);
  array.integrity.adopt(newest);
  array.assembly.optionsGeneration = newest.generation;
}

/**
 * Sets the read policy from the newest header, and read preferences from the newest one with the array's number of slots; even
 * if another program has run the array since.
 */
export function adoptReadPolicy(array: RaidArray, latest: ExtensionHeader, bySlot: ExtensionHeader | null): void {
  array.setReadPolicy(latest.readPolicy);
  for (const slot of array.slots) slot.setReadPreference(bySlot?.slots[slot.index]?.readPreference ?? 'normal');
}
