import type { BdevDescriptor } from '@raidkit/bdev';
import type { ArrayRecord, ExtensionHeader } from '@raidkit/core';
import { extensionStore } from './extension-store.js';

/** Whether the superblock's array keeps checksums, according to the newest header on the device; false if none can be read. */
export async function keepsChecksums(descriptor: BdevDescriptor, { blockSize, uuid }: ArrayRecord): Promise<boolean> {
  if (!extensionStore.fits(blockSize, 0)) return false;
  let newest: ExtensionHeader | null = null;
  const headers = await extensionStore.readHeaders(descriptor, uuid).catch((): ExtensionHeader[] => []);
  for (const header of headers) {
    if (newest === null || header.generation > newest.generation) newest = header;
  }
  return newest !== null && newest.sums !== null;
}
