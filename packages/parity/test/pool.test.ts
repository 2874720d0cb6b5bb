import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferMemory, BufferMemoryError, BufferPool, PAGE_BYTES } from '../src/index.js';

const thrownBy = (action: () => unknown): unknown => {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

describe('BufferPool', () => {
  it('behaves like a set of slots: none is given twice, before it came back and its pins are gone', () => {
    const step = fc.tuple(fc.constantFrom('get', 'get', 'put', 'put', 'pin', 'unpin'), fc.nat(), fc.nat());
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.constantFrom(512, 4096, 5000, 65536),
        fc.constantFrom(0, 16, 4096),
        fc.array(step, { maxLength: 120 }),
        (count, slotBytes, headerBytes, steps) => {
          const memory = new BufferMemory({ bytes: 2 << 20 });
          const total = memory.freeBytes;
          let freed = 0;
          const pool = new BufferPool(memory, { slotBytes, count, headerBytes, onFree: () => freed++ });
          const out: number[] = [];
          const held: number[] = [];
          const pins: number[] = []; // One entry a pin, naming the slot.
          let expectedFreed = 0;
          for (const [kind, pick, at] of steps) {
            const users = [...out, ...held];
            if (kind === 'get') {
              const addr = pool.get();
              if (users.length === count) {
                expect(addr).toBe(-1);
              } else {
                expect(addr % PAGE_BYTES).toBe(0);
                expect(pool.contains(addr)).toBe(true);
                for (const other of users)
                  expect(addr + slotBytes <= other - headerBytes || other + slotBytes <= addr - headerBytes).toBe(true);
                out.push(addr);
              }
            } else if (kind === 'put' && out.length > 0) {
              const [addr] = out.splice(pick % out.length, 1) as [number];
              pool.put(addr);
              if (pins.includes(addr)) held.push(addr);
              else expectedFreed++;
              expect(() => pool.put(addr)).toThrow(/released twice/);
            } else if (kind === 'pin' && users.length > 0) {
              const addr = users[pick % users.length]!;
              memory.pin(addr - headerBytes + (at % (headerBytes + slotBytes)));
              pins.push(addr);
            } else if (kind === 'unpin' && pins.length > 0) {
              const [addr] = pins.splice(pick % pins.length, 1) as [number];
              memory.unpin(addr - headerBytes + (at % (headerBytes + slotBytes)));
              if (!pins.includes(addr) && held.includes(addr)) {
                held.splice(held.indexOf(addr), 1);
                expectedFreed++;
              }
            }
            expect(pool.available).toBe(count - out.length - held.length);
            expect(freed).toBe(expectedFreed);
          }
          // Closing is refused while a slot that is not pinned is in use, and is complete when all buffers are released.
          const inUse = out.filter((addr) => !pins.includes(addr));
          if (inUse.length > 0) expect(() => pool.close()).toThrow(/cannot close/);
          for (const addr of inUse) pool.put(addr);
          pool.close();
          pool.close();
          expect(pool.get()).toBe(-1);
          expect(memory.freeBytes === total).toBe(pins.length === 0);
          for (const addr of out) if (!inUse.includes(addr)) pool.put(addr);
          for (const addr of pins) memory.unpin(addr);
          expect(memory.freeBytes).toBe(total);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('keeps the region until a pinned slot that was not put comes back', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const total = memory.freeBytes;
    const pool = new BufferPool(memory, { slotBytes: 4096, count: 2 });
    const addr = pool.get();
    memory.pin(addr);
    pool.close();
    memory.unpin(addr);
    expect(memory.freeBytes).toBe(total - 8192);
    pool.put(addr);
    expect(memory.freeBytes).toBe(total);
  });

  it('refuses foreign addresses, unpins without pin, and pins on free slots', () => {
    const memory = new BufferMemory({ bytes: 262144 });
    const pool = new BufferPool(memory, { slotBytes: 4096, count: 2, headerBytes: 16 });
    const other = new BufferPool(memory, { slotBytes: 4096, count: 2 });
    const addr = pool.get();
    const foreign = other.get();
    for (const wrong of [foreign, addr + 1, addr - 16, 0, -1, NaN, 2 ** 40]) {
      const error = thrownBy(() => pool.put(wrong));
      expect(error).toBeInstanceOf(BufferMemoryError);
      expect(error).toMatchObject({ code: 'ERR_BUFFER_MISUSE' });
    }
    expect(pool.contains(foreign)).toBe(false);
    expect(() => memory.unpin(addr)).toThrow(/not pinned/);
    // A refused unpin has not changed the counts.
    memory.pin(addr);
    const second = pool.get();
    expect(() => memory.unpin(second)).toThrow(/not pinned/);
    pool.put(addr);
    expect(pool.available).toBe(0);
    memory.unpin(addr);
    expect(pool.available).toBe(1);
    expect(() => memory.pin(addr)).toThrow(/pinned after/);
    pool.put(second);
    pool.close();
  });

  it('says how much it needs and how much there is when it does not fit', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const free = memory.freeBytes;
    const error = thrownBy(() => new BufferPool(memory, { slotBytes: 65536, count: 3 }));
    expect(error).toBeInstanceOf(BufferMemoryError);
    expect(error).toMatchObject({ code: 'ERR_BUFFER_MEMORY' });
    expect(String(error)).toContain('196608');
    expect(String(error)).toContain(String(free));
    expect(memory.freeBytes).toBe(free);
  });

  it('refuses options that make no sense', () => {
    const memory = new BufferMemory({ bytes: 65536 });
    for (const wrong of [{ slotBytes: 0 }, { count: 0 }, { count: 1.5 }, { headerBytes: -1 }, { slotBytes: NaN }]) {
      expect(() => new BufferPool(memory, { slotBytes: 512, count: 1, ...wrong })).toThrow(RangeError);
    }
  });
});
