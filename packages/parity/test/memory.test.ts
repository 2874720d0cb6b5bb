import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferMemory, MAX_MEMORY_BYTES, PAGE_BYTES } from '../src/index.js';

describe('BufferMemory', () => {
  it('rounds up to 64 KiB and shows one memory through all its views', () => {
    const memory = new BufferMemory({ bytes: 65537 });
    expect(memory.bytes).toBe(131072);
    expect(memory.buffer.byteLength).toBe(131072);
    expect(memory.memory.buffer).toBe(memory.buffer);
    const addr = memory.allocRegion(4096);
    memory.u8[addr] = 0xab;
    expect(memory.view.getUint8(addr)).toBe(0xab);
  });

  it('refuses impossible sizes', () => {
    for (const bytes of [0, -1, 1.5, NaN, MAX_MEMORY_BYTES + 1]) expect(() => new BufferMemory({ bytes })).toThrow(RangeError);
  });

  it.each([65536, 8 << 20, 64 << 20])('keeps page-aligned zeros of at most an eighth of %d bytes', (bytes) => {
    const memory = new BufferMemory({ bytes });
    expect(memory.zeroAddr % PAGE_BYTES).toBe(0);
    expect(memory.zeroBytes).toBe(Math.min(1 << 20, bytes / 8));
    // The zeros share no memory with the kernels' tables, nor with allocated memory.
    expect(memory.kernels.crc32c(memory.zeroAddr, memory.zeroBytes)).toBe(0);
    const rest = memory.allocRegion(memory.freeBytes);
    memory.u8.fill(0xff, rest);
    expect(memory.isZero(memory.zeroAddr, memory.zeroBytes)).toBe(true);
  });

  it('gives out page-aligned regions that never overlap, and takes each back once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 60_000 }), fc.nat()), { maxLength: 80 }),
        (steps) => {
          const memory = new BufferMemory({ bytes: 524288 });
          const total = memory.freeBytes;
          const live: { addr: number; end: number }[] = [];
          for (const [isAlloc, bytes, pick] of steps) {
            if (isAlloc) {
              const addr = memory.allocRegion(bytes);
              const end = addr + Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
              const sorted = live.toSorted((a, b) => a.addr - b.addr);
              if (addr === -1) {
                // No gap between the neighbours is then large enough.
                const starts = [memory.zeroAddr + memory.zeroBytes, ...sorted.map((r) => r.end)];
                const ends = [...sorted.map((r) => r.addr), memory.bytes];
                for (const [i, start] of starts.entries()) expect(ends[i]! - start).toBeLessThan(end - addr);
              } else {
                expect(addr % PAGE_BYTES).toBe(0);
                expect(addr).toBeGreaterThan(0);
                expect(end).toBeLessThanOrEqual(memory.bytes);
                for (const other of live) expect(end <= other.addr || other.end <= addr).toBe(true);
                live.push({ addr, end });
              }
            } else if (live.length > 0) {
              const [region] = live.splice(pick % live.length, 1);
              memory.freeRegion(region!.addr);
              expect(() => memory.freeRegion(region!.addr)).toThrow(/not the start of a region/);
            }
            expect(memory.freeBytes).toBe(total - live.reduce((sum, r) => sum + r.end - r.addr, 0));
          }
        },
      ),
    );
  });

  it('uses a gap that fits exactly, and the first that fits', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const [first, second] = [memory.allocRegion(8192), memory.allocRegion(4096), memory.allocRegion(4096)] as [
      number,
      number,
      number,
    ];
    memory.freeRegion(first);
    expect(memory.allocRegion(4096)).toBe(first);
    expect(memory.allocRegion(4097)).toBeGreaterThan(second);
    memory.freeRegion(second);
    expect(memory.allocRegion(8192)).toBe(first + 4096);
  });

  it('frees a pinned region at its last unpin', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const total = memory.freeBytes;
    const addr = memory.allocRegion(8192);
    memory.pin(addr + 5000);
    memory.pin(addr);
    memory.freeRegion(addr);
    expect(() => memory.freeRegion(addr)).toThrow();
    expect(memory.freeBytes).toBe(total - 8192);
    memory.unpin(addr);
    expect(memory.freeBytes).toBe(total - 8192);
    memory.unpin(addr + 1);
    expect(memory.freeBytes).toBe(total);
  });

  it('refuses an unpin too many and ignores pins outside all regions', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const addr = memory.allocRegion(4096);
    expect(() => memory.unpin(addr)).toThrow(/not pinned/);
    memory.pin(memory.zeroAddr);
    memory.unpin(memory.zeroAddr);
    memory.unpin(0);
    expect(() => memory.freeRegion(addr + 1)).toThrow(/not the start/);
    expect(() => memory.freeRegion(memory.zeroAddr)).toThrow(/not the start/);
  });

  it('zeroes and copies, overlapping too, and refuses ranges outside', () => {
    const memory = new BufferMemory({ bytes: 65536 });
    const addr = memory.allocRegion(4096);
    memory.u8.set([1, 2, 3, 4, 5], addr);
    memory.copy(addr + 1, addr, 5);
    expect([...memory.u8.subarray(addr, addr + 7)]).toEqual([1, 1, 2, 3, 4, 5, 0]);
    memory.zero(addr + 1, 2);
    expect([...memory.u8.subarray(addr, addr + 6)]).toEqual([1, 0, 0, 3, 4, 5]);
    for (const [a, n] of [
      [65530, 7],
      [-1, 1],
      [NaN, 1],
      [0, -1],
    ] as const) {
      expect(() => memory.zero(a, n)).toThrow(RangeError);
      expect(() => memory.copy(addr, a, n)).toThrow(RangeError);
      expect(() => memory.copy(a, addr, n)).toThrow(RangeError);
    }
  });
});
