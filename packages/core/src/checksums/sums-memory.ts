import type { BdevRegistry } from '@raidkit/bdev';
import { BufferMemoryError } from '@raidkit/parity';
import { EdgeBuffers } from './edge-buffers.js';
import { PageCache } from './page-cache.js';
import { RaidError } from '../errors.js';
import type { ChecksumPages } from '../format/store.js';

/** Bytes of pages in memory, unless the program that composes the arrays says otherwise. */
export const defaultCacheBytes = 64 * 1024 * 1024;
/** Requests need one at a time. */
const fewestPages = 2;

/** What all arrays with sums of a registry have in common, while there is one of them. */
export interface SharedSums {
  readonly cache: PageCache;
  readonly edges: EdgeBuffers;
}

/** Memory for sums: taken with the first array that has them, given back with the last. */
export class SumsMemory {
  readonly #registry: BdevRegistry;
  readonly #cacheBytes: number;
  #users = 0;
  #shared: SharedSums | null = null;

  constructor(registry: BdevRegistry, cacheBytes: number) {
    this.#registry = registry;
    this.#cacheBytes = cacheBytes;
  }

  /** {@link release} follows. Throws `ERR_RAID_MEMORY` if there is none. */
  take(format: ChecksumPages): SharedSums {
    this.#shared ??= this.#make(format);
    this.#users++;
    return this.#shared;
  }

  release(): void {
    if (--this.#users > 0) return;
    this.#shared?.cache.close();
    this.#shared?.edges.close();
    this.#shared = null;
  }

  /** Where there is no room for as many pages as there may be, with fewer. */
  #make({ pageBytes }: ChecksumPages): SharedSums {
    const { memory } = this.#registry.runtime;
    const most = Math.min(this.#cacheBytes, memory.bytes / 4) / pageBytes;
    for (let pages = Math.max(fewestPages, Math.floor(most)); ; pages = Math.max(fewestPages, pages >> 1)) {
      try {
        return this.#makeWith(pages, pageBytes);
      } catch (cause) {
        if (!(cause instanceof BufferMemoryError)) throw cause;
        if (pages > fewestPages) continue;
        throw new RaidError('ERR_RAID_MEMORY', 12, 'there is no memory for checksums', { cause });
      }
    }
  }

  #makeWith(pages: number, pageBytes: number): SharedSums {
    const edges = new EdgeBuffers(this.#registry.runtime.memory);
    try {
      return { cache: new PageCache(this.#registry, pages, pageBytes), edges };
    } catch (error) {
      edges.close();
      throw error;
    }
  }
}
