import { Status } from '@raidkit/bdev';
import type { BdevRegistry } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import { BufferPool } from '@raidkit/parity';
import { RaidError } from '../errors.js';

/**
 * Calls `work` with a buffer of `bytes` bytes, allocated for this purpose. Users' requests may hold all common buffers, and
 * core's own operations must not fail for that: core would take a member for failed, or redundancy for inconsistent. Rejects
 * with `ERR_RAID_MEMORY`, which blames no member and may pass, if there is not enough memory; or as `work` does.
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
    // The pool frees a buffer that a timed-out device may still access once the device has answered.
    pool.put(addr);
    pool.close();
  }
}

function newPool(memory: BufferMemory, name: string, slotBytes: number): BufferPool {
  try {
    return new BufferPool(memory, { slotBytes, count: 1 });
  } catch (cause) {
    throw new RaidError(
      'ERR_RAID_MEMORY',
      Status.NoMemory,
      `array ${name}: not enough memory for a buffer of ${slotBytes} bytes`,
      {
        cause,
      },
    );
  }
}
