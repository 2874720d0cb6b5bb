import type { BdevRegistry } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import { BufferPool } from '@raidkit/parity';
import { RaidError } from '../errors.js';

/**
 * Works with a buffer of so many bytes that is no request's: users may have all of the common ones, and what core does of its
 * own accord must not fail for that, or it would take its members, or its redundancy, for what they are not. Rejects with
 * `ERR_RAID_MEMORY` if there is no memory, which is no member's fault, and may pass; or as `work` does.
 */
export async function withOwnBuffer<T>(
  { name, registry }: { readonly name: string; readonly registry: BdevRegistry },
  bytes: number,
  work: (addr: number) => Promise<T>,
): Promise<T> {
  const pool = newPool(registry.runtime.memory, name, bytes);
  const addr = pool.get();
  try {
    return await work(addr);
  } finally {
    // What a device that was given up may still use is given back when it has answered.
    pool.put(addr);
    pool.close();
  }
}

function newPool(memory: BufferMemory, name: string, slotBytes: number): BufferPool {
  try {
    return new BufferPool(memory, { slotBytes, count: 1 });
  } catch (cause) {
    throw new RaidError('ERR_RAID_MEMORY', 12, `array ${name}: there is no memory for a buffer of ${slotBytes} bytes`, {
      cause,
    });
  }
}
