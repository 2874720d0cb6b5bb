import type { BdevDescriptor } from '@raidkit/bdev';
import type { ArrayRecord } from '@raidkit/core';
import { nullUuid } from '@raidkit/core';
import { extensionStore } from './extension-store.js';

/**
 * Returns the uuid under which raidkit's headers on the device list it as a member, whatever its own uuid is now. Of several
 * headers the newest counts that names a member which the superblock lists. Null if none does; undefined if there are no
 * headers, as on a device that SPDK wrote.
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
