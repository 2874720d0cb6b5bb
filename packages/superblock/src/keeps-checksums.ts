import type { BdevDescriptor } from '@raidkit/bdev';
import type { ArrayRecord, ExtensionHeader } from '@raidkit/core';
import { extensionStore } from './extension-store.js';

/** Whether the array of this superblock keeps checksums, as its newest header on the device says: false if none can be read. */
export async function keepsChecksums(descriptor: BdevDescriptor, { blockSize, uuid }: ArrayRecord): Promise<boolean> {
  if (!extensionStore.fits(blockSize, 0)) return false;
  let newest: ExtensionHeader | null = null;
  const headers = await extensionStore.readHeaders(descriptor, uuid).catch((): ExtensionHeader[] => []);
  for (const header of headers) {
    if (newest === null || header.generation > newest.generation) newest = header;
  }
  return newest !== null && newest.sums !== null;
}
