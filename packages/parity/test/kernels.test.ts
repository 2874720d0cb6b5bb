import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BufferMemory } from '../src/index.js';

// Multiplication by logarithms: built on another idea than the shifts in the source.
const EXP: number[] = [];
const LOG: number[] = [];
for (let i = 0, x = 1; i < 255; i++) {
  EXP[i] = x;
  LOG[x] = i;
  x *= 2;
  if (x > 255) x ^= 0x11d;
}
const multiply = (a: number, b: number) => (a === 0 || b === 0 ? 0 : EXP[(LOG[a]! + LOG[b]!) % 255]!);

const crcBit = (crc: number) => (crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1);

/** A memory with its first free bytes filled from `seed`, and a copy of all of it that a byte loop works on. */
function twin(kernels: 'wasm-simd' | 'javascript', seed: number) {
  const memory = new BufferMemory({ bytes: 262144, kernels });
  const base = memory.allocRegion(memory.freeBytes);
  let x = seed | 1;
  for (let i = base; i < memory.bytes; i++) {
    x = Math.imul(x, 1103515245) + 12345;
    memory.u8[i] = x >>> 16;
  }
  expect(memory.kernels.implementation).toBe(kernels); // This also puts the tables in place before the copy.
  return { memory, base, expected: memory.u8.slice() };
}

const same = (memory: BufferMemory, expected: Uint8Array) => Buffer.compare(memory.u8, expected) === 0;

const length = fc.oneof(fc.integer({ min: 0, max: 70 }), fc.integer({ min: 0, max: 4200 }), fc.constantFrom(64, 512, 4096));
const seed = fc.integer();
/** Ranges of up to 4200 bytes that do not overlap: one in each 5000 bytes, at any offset, often a multiple of 4 or 64. */
const offset = fc.oneof(
  fc.integer({ min: 0, max: 700 }),
  fc.integer({ min: 0, max: 175 }).map((n) => n * 4),
  fc.constantFrom(0, 64),
);
const PITCH = 5000;

describe.each(['wasm-simd', 'javascript'] as const)('%s kernels', (implementation) => {
  it('xor equals a byte loop, for any count, length and alignment, also onto the first source', () => {
    fc.assert(
      fc.property(
        seed,
        length,
        fc.array(offset, { minLength: 2, maxLength: 30 }),
        fc.boolean(),
        fc.boolean(),
        (s, n, offsets, inPlace, typed) => {
          const { memory, base, expected } = twin(implementation, s);
          const ranges = offsets.map((o, i) => base + i * PITCH + o);
          const sources = ranges.slice(1);
          const dst = inPlace ? sources[0]! : ranges[0]!;
          for (let i = 0; i < n; i++) expected[dst + i] = sources.reduce((sum, source) => sum ^ memory.u8[source + i]!, 0);
          // The list is longer than the count, which is allowed.
          const list = [...sources, 0];
          memory.kernels.xor(dst, typed ? Int32Array.from(list) : list, sources.length, n);
          expect(same(memory, expected)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('xor takes all 255 sources', () => {
    const { memory, base, expected } = twin(implementation, 5);
    const sources = Uint32Array.from({ length: 255 }, (_, i) => base + 256 + i * 300);
    for (let i = 0; i < 200; i++) expected[base + i] = sources.reduce((sum, source) => sum ^ memory.u8[source + i]!, 0);
    memory.kernels.xor(base, sources, 255, 200);
    expect(same(memory, expected)).toBe(true);
  });

  it('xorInto and gfMulInto equal a byte loop, also onto themselves', () => {
    fc.assert(
      fc.property(seed, length, offset, offset, fc.nat(255), fc.boolean(), (s, n, a, b, c, onItself) => {
        const { memory, base, expected } = twin(implementation, s);
        const dst = base + a;
        const src = onItself ? dst : base + PITCH + b;
        for (let i = 0; i < n; i++) expected[dst + i]! ^= multiply(c, memory.u8[src + i]!);
        memory.kernels.gfMulInto(dst, src, c, n);
        expect(same(memory, expected)).toBe(true);
        for (let i = 0; i < n; i++) expected[dst + i]! ^= memory.u8[src + i]!;
        memory.kernels.xorInto(dst, src, n);
        expect(same(memory, expected)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('gfMulInto knows every product', () => {
    const { memory, base } = twin(implementation, 1);
    for (let i = 0; i < 256; i++) memory.u8[base + i] = i;
    for (let c = 0; c < 256; c++) {
      memory.zero(base + 4096, 256);
      memory.kernels.gfMulInto(base + 4096, base, c, 256);
      expect([...memory.u8.subarray(base + 4096, base + 4352)]).toEqual(Array.from({ length: 256 }, (_, i) => multiply(c, i)));
    }
  });

  it('pq equals sums over powers of two, for any count, length and alignment', () => {
    fc.assert(
      fc.property(seed, length, fc.array(offset, { minLength: 3, maxLength: 30 }), (s, n, offsets) => {
        const { memory, base, expected } = twin(implementation, s);
        const [p, q, ...sources] = offsets.map((o, i) => base + i * PITCH + o) as [number, number, ...number[]];
        for (let i = 0; i < n; i++) {
          expected[p + i] = sources.reduce((sum, source) => sum ^ memory.u8[source + i]!, 0);
          expected[q + i] = sources.reduce((sum, source, k) => sum ^ multiply(EXP[k]!, memory.u8[source + i]!), 0);
        }
        memory.kernels.pq(p, q, sources, sources.length, n);
        expect(same(memory, expected)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('pq takes all 255 sources', () => {
    const { memory, base, expected } = twin(implementation, 9);
    const sources = Array.from({ length: 255 }, (_, i) => base + 1024 + i * 150);
    for (let i = 0; i < 133; i++) {
      expected[base + i] = sources.reduce((sum, source) => sum ^ memory.u8[source + i]!, 0);
      expected[base + 512 + i] = sources.reduce((sum, source, k) => sum ^ multiply(EXP[k]!, memory.u8[source + i]!), 0);
    }
    memory.kernels.pq(base, base + 512, sources, 255, 133);
    expect(same(memory, expected)).toBe(true);
  });

  it('isZero and equal see one wrong bit anywhere, and nothing outside the range', () => {
    fc.assert(
      fc.property(length, offset, offset, fc.nat(), fc.nat(7), (n, a, b, position, bit) => {
        const { memory, base } = twin(implementation, 3);
        const x = base + a;
        const y = base + PITCH + b;
        memory.zero(x, n);
        expect(memory.isZero(x, n)).toBe(true);
        memory.u8.copyWithin(y, x, x + n);
        expect(memory.equal(x, y, n)).toBe(true);
        if (n === 0) return;
        memory.u8[x + (position % n)]! ^= 1 << bit;
        expect(memory.isZero(x, n)).toBe(false);
        expect(memory.equal(x, y, n)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('crc32c is the raw form, and goes on from where it stopped', () => {
    const { memory, base } = twin(implementation, 8);
    Buffer.from(memory.buffer).write('123456789', base, 'latin1');
    expect(memory.kernels.crc32c(base, 9)).toBe(0x58e3fa20);
    // The usual form is the raw one with inversions at both ends.
    expect((memory.kernels.crc32c(base, 9, 0xffffffff) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
    fc.assert(
      fc.property(length, offset, fc.nat(), fc.nat(0xffffffff), (n, o, cut, initial) => {
        const addr = base + o;
        let expected = initial;
        for (let i = 0; i < n; i++) {
          expected ^= memory.u8[addr + i]!;
          for (let bit = 0; bit < 8; bit++) expected = crcBit(expected);
        }
        const head = cut % (n + 1);
        expect(memory.kernels.crc32c(addr, n, initial)).toBe(expected >>> 0);
        expect(memory.kernels.crc32c(addr + head, n - head, memory.kernels.crc32c(addr, head, initial))).toBe(expected >>> 0);
      }),
      { numRuns: 200 },
    );
  });

  it('refuses ranges outside the memory and overlaps, having written nothing', () => {
    const { memory, base, expected } = twin(implementation, 2);
    const { kernels, bytes } = memory;
    const other = base + 65536;
    const refused: (() => void)[] = [
      () => kernels.xor(bytes - 63, [base], 1, 64),
      () => kernels.xor(base, [other, bytes - 63], 2, 64),
      () => kernels.xor(base, [other, NaN], 2, 64),
      () => kernels.xor(base, [other, -1], 2, 64),
      () => kernels.xor(base, [other], 2, 64),
      () => kernels.xor(base, [other], 0, 64),
      () => kernels.xor(base, [other], 1.5, 64),
      () => kernels.xor(base, Array<number>(256).fill(other), 256, 64),
      () => kernels.xor(base, [other], 1, -1),
      () => kernels.xor(base, [other, base], 2, 64),
      () => kernels.xor(base, [base + 63, other], 2, 64),
      () => kernels.xor(base + 63, [base, other], 2, 64),
      () => kernels.xorInto(base, base + 1, 64),
      () => kernels.xorInto(base, bytes, 1),
      () => kernels.pq(base, base + 63, [other], 1, 64),
      () => kernels.pq(base, base + 64, [base], 1, 64),
      () => kernels.pq(base, base + 64, [base + 127], 1, 64),
      () => kernels.gfMulInto(base, other, 256, 64),
      () => kernels.gfMulInto(base, other, 0.5, 64),
      () => kernels.gfMulInto(base + 5, base, 3, 64),
      () => void kernels.isZero(bytes, 1),
      () => void kernels.equal(base, bytes - 3, 4),
      () => void kernels.crc32c(bytes - 3, 4),
    ];
    for (const call of refused) expect(call, call.toString()).toThrow(RangeError);
    expect(same(memory, expected)).toBe(true);
  });

  it('works beyond 2^31, with addresses of either sign', () => {
    const memory = new BufferMemory({ bytes: 2 ** 31 + 2 ** 24, kernels: implementation });
    const dst = 2 ** 31 + 4096;
    const [a, b] = [2 ** 31 - 4096, 2 ** 31 + 65536];
    memory.u8.fill(0x0f, a, a + 100);
    memory.u8.fill(0xf1, b, b + 100);
    memory.kernels.xor(dst, Int32Array.of(a, b), 2, 100);
    expect([...memory.u8.subarray(dst, dst + 101)]).toEqual([...Array<number>(100).fill(0xfe), 0]);
    memory.kernels.xor(dst, Int32Array.of(b), 1, 100);
    expect(memory.equal(dst, b, 100)).toBe(true);
    memory.kernels.pq(dst, dst + 4096, Int32Array.of(a, b), 2, 100);
    expect(memory.u8[dst + 99]).toBe(0xfe);
    expect(memory.u8[dst + 4096 + 99]).toBe(0x0f ^ multiply(2, 0xf1));
  });
});

describe('the choice of kernels', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    vi.resetModules();
  });

  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { Module: unknown; CompileError: new (message: string) => Error };
  };

  it('is WebAssembly where it compiles', () => {
    expect(new BufferMemory({ bytes: 65536 }).kernels.implementation).toBe('wasm-simd');
  });

  it('falls back to JavaScript where it does not, unless WebAssembly was asked for', async () => {
    vi.resetModules();
    vi.spyOn(WebAssembly as { Module: () => unknown }, 'Module').mockImplementation(function () {
      throw new WebAssembly.CompileError('no SIMD');
    });
    const fresh = await import('../src/index.js');
    expect(new fresh.BufferMemory({ bytes: 65536 }).kernels.implementation).toBe('javascript');
    expect(() => new fresh.BufferMemory({ bytes: 65536, kernels: 'wasm-simd' }).kernels).toThrow(WebAssembly.CompileError);
  });
});

it('the checked-in module is what the generator makes', () => {
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
  const generated = execFileSync(process.execPath, [path('../scripts/generate-kernels.mjs')], { encoding: 'utf8' });
  expect(generated).toBe(readFileSync(path('../src/kernels-wasm-binary.ts'), 'utf8'));
});
