import type { BdevDescriptor } from '@raidkit/bdev';
import type { ArrayRecord } from '@raidkit/core';
import { nullUuid } from '@raidkit/core';
import { extensionStore } from './extension-store.js';

/**
 * Which member of the array the device is by our headers on it, whatever its own uuid is by now: the newest that names one which
 * the superblock lists counts. Null if none of them does; undefined if there are none, as on what SPDK wrote.
 */
export async function namedMember(
  descriptor: BdevDescriptor,
  { slots, uuid }: ArrayRecord,
): Promise<string | null | undefined> {
  const headers = await extensionStore.readHeaders(descriptor, uuid);
  if (headers.length === 0) return undefined;
  const members = new Set(slots.map((slot) => slot.uuid).filter((member) => member !== nullUuid));
  const newestFirst = [...headers].sort((a, b) => b.generation - a.generation);
  return newestFirst.find(({ memberUuid }) => members.has(memberUuid))?.memberUuid ?? null;
}
