import { Status } from '@raidkit/bdev';
import type { BdevRegistry } from '@raidkit/bdev';
import { BufferMemoryError } from '@raidkit/parity';
import { EdgeBuffers } from './edge-buffers.js';
import { PageCache } from './page-cache.js';
import { RaidError } from '../errors.js';
import type { ChecksumPages } from '../format/store.js';

/** Default size of the page cache in bytes, unless the composer sets another one. */
export const defaultCacheBytes = 64 * 1024 * 1024;
/** Each request needs one page at a time. */
const fewestPages = 2;

/** Memory that all arrays with checksums in a registry share. */
export interface SharedSums {
  readonly cache: PageCache;
  readonly edges: EdgeBuffers;
}

/** Memory for checksums. It is allocated for the first array that has checksums and freed after the last. */
export class SumsMemory {
  readonly #registry: BdevRegistry;
  readonly #cacheBytes: number;
  #users = 0;
  #shared: SharedSums | null = null;

  constructor(registry: BdevRegistry, cacheBytes: number) {
    this.#registry = registry;
    this.#cacheBytes = cacheBytes;
  }

  /** The caller must call {@link release} later. Throws `ERR_RAID_MEMORY` if there is not enough memory. */
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

  /** Allocates the memory, with fewer pages if there is not enough for all. */
  #make({ pageBytes }: ChecksumPages): SharedSums {
    const { memory } = this.#registry.runtime;
    const most = Math.min(this.#cacheBytes, memory.bytes / 4) / pageBytes;
    for (let pages = Math.max(fewestPages, Math.floor(most)); ; pages = Math.max(fewestPages, pages >> 1)) {
      try {
        return this.#makeWith(pages, pageBytes);
      } catch (cause) {
        if (!(cause instanceof BufferMemoryError)) throw cause;
        if (pages > fewestPages) continue;
        throw new RaidError('ERR_RAID_MEMORY', Status.NoMemory, 'not enough memory for checksums', { cause });
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
