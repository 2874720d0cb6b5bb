import { BlockClient } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import type { BadBlockList, ExtensionHeader, ExtensionStore, RegionPage } from '@raidkit/core';
import { badBlocksLayout, badBlocksLength, encodeBadBlocks, mostBadRanges, parseBadBlocks } from './bad-block-list.js';
import { checksumPages } from './checksum-page.js';
import { doubtBytes, encodeDoubtList, mostDoubtRanges, parseDoubtList } from './doubt-list.js';
import { journalStore } from './journal-store.js';
import { encodeHeader, encodePage, extensionLayout, pageAt, parseHeader, parsePage, regionsPerPage } from './extension.js';

const { doubtAt, firstPages, headerAt, headerBytes, journalAt, journalBytes } = extensionLayout;
const { morePagesAt, mostOptionsBytes, mostPages, pageBytes, pagesAt } = extensionLayout;
/** Pages that are read or written in one call; they are adjacent on the device. */
const pagesAtATime = firstPages;

/** Largest write that zeroes the area, in bytes. */
const pieceBytes = 1024 * 1024;

/** Reads and writes raidkit's own area between superblock and data. Requires blocks of at most 4096 bytes. */
export const extensionStore: ExtensionStore = {
  regionsPerPage,
  mostOptionsBytes,
  mostBlockBytes: pageBytes,
  mostBadRanges,
  mostDoubtRanges,
  journal: journalStore,
  checksums: checksumPages,

  fits: (blockSize, numRegions) => blockSize <= pageBytes && numRegions <= mostPages * regionsPerPage,

  reservedBytes: (numRegions) => {
    const numPages = Math.ceil(numRegions / regionsPerPage);
    return numPages <= firstPages ? morePagesAt : Math.ceil(pageAt(numPages) / morePagesAt) * morePagesAt;
  },

  async readHeaders(descriptor, arrayUuid) {
    const headers: ExtensionHeader[] = [];
    const failures: unknown[] = [];
    for (const at of headerAt) {
      const bytes = await readAt(descriptor, at, headerBytes).catch((error: unknown) => void failures.push(error));
      const found = bytes === undefined ? null : parseHeader(bytes);
      if (found?.arrayUuid === arrayUuid) headers.push(found);
    }
    // The second place exists for bad sectors in the first. But only if both can be read is it certain that there is no header.
    if (headers.length === 0 && failures.length > 0) throw failures[0];
    return headers;
  },

  async readPages(descriptor, life, numRegions) {
    const pages: RegionPage[] = [];
    const numPages = Math.min(mostPages, Math.ceil(numRegions / regionsPerPage));
    for (let first = 0; first < numPages; first += pagesAtATime) {
      const count = Math.min(pagesAtATime, numPages - first);
      const bytes = await readAt(descriptor, pageAt(first), count * 2 * pageBytes);
      for (let place = 0; place < 2 * count; place++) {
        const page = parsePage(bytes.subarray(place * pageBytes, (place + 1) * pageBytes), life);
        if (page?.index === first + (place >> 1)) pages.push(page);
      }
    }
    return pages;
  },

  async readBadBlocks(descriptor, life) {
    let newest: BadBlockList | null = null;
    let failure: Error | null = null;
    for (const at of badBlocksLayout.at) {
      try {
        // Nearly always there is no list or a short one.
        let bytes = await readAt(descriptor, at, badBlocksLayout.unitBytes);
        if (badBlocksLength(bytes) > bytes.length) bytes = await readAt(descriptor, at, badBlocksLayout.bytes);
        const list = parseBadBlocks(bytes, life);
        if (list !== null && (newest === null || list.generation > newest.generation)) newest = list;
      } catch (error) {
        failure = error instanceof Error ? error : new Error(String(error));
      }
    }
    return { list: newest, error: failure };
  },

  async readDoubt(descriptor, life) {
    const both = await readAt(descriptor, doubtAt, 2 * doubtBytes);
    let newest = null;
    for (const copy of [both.subarray(0, doubtBytes), both.subarray(doubtBytes)]) {
      const list = parseDoubtList(copy, life);
      if (list !== null && (newest === null || list.generation > newest.generation)) newest = list;
    }
    return newest;
  },

  async writeBadBlocks(descriptor, life, list) {
    await writeAt(descriptor, badBlocksLayout.at[list.generation % 2] ?? 0, encodeBadBlocks(life, list));
    await new BlockClient(descriptor).flush();
  },

  async writeDoubt(descriptor, life, list) {
    await writeAt(descriptor, doubtAt + (list.generation % 2) * doubtBytes, encodeDoubtList(life, list));
    await new BlockClient(descriptor).flush();
  },

  async clear(descriptor, numRegions) {
    const { blockSize } = descriptor.bdev;
    const [first] = headerAt;
    const end = badBlocksLayout.at[1] + badBlocksLayout.bytes;
    const client = new BlockClient(descriptor);
    // Zeros are written instead of unmapped or zeroed by the device: a thinly provisioned device then has allocated space for
    // the whole area.
    const zeros = (from: number, to: number) => client.write(from / blockSize, new Uint8Array(to - from));
    // Headers are cleared first: without one nothing else is used, whatever a crash leaves of it.
    await zeros(first, pagesAt);
    await client.flush();
    await zeros(pagesAt, end);
    await zeros(doubtAt, doubtAt + 2 * doubtBytes);
    await zeros(journalAt, journalAt + journalBytes);
    const endOfPages = extensionStore.reservedBytes(numRegions);
    for (let at = morePagesAt; at < endOfPages; at += pieceBytes) await zeros(at, Math.min(at + pieceBytes, endOfPages));
    await client.flush();
  },

  check(header) {
    encodeHeader(header);
  },

  async writeHeader(descriptor, header) {
    const at = headerAt[header.generation % 2] ?? 0;
    await writeAt(descriptor, at, encodeHeader(header));
    await new BlockClient(descriptor).flush();
  },

  async writePages(descriptor, life, pages) {
    for (let first = 0; first < pages.length; first += pagesAtATime) {
      const results = await Promise.allSettled(
        pages.slice(first, first + pagesAtATime).map((page) => {
          const at = pageAt(page.index) + (page.generation % 2) * pageBytes;
          return writeAt(descriptor, at, encodePage(life, page));
        }),
      );
      // A caller that gets an error must not find other writes still in flight.
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }
    await new BlockClient(descriptor).flush();
  },
};

function readAt(descriptor: BdevDescriptor, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
  const { blockSize } = descriptor.bdev;
  return new BlockClient(descriptor).read(offsetBytes / blockSize, lengthBytes / blockSize);
}

function writeAt(descriptor: BdevDescriptor, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  return new BlockClient(descriptor).write(offsetBytes / descriptor.bdev.blockSize, bytes);
}
