import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { BLOCK_SUM_KEY_BYTES, BufferMemory, makeBlockSumKey } from '../src/index.js';

const BLOCK = 4096;
const shifted = 2n ** 32n;

/** The definition, word by word: pairs of words 16 bytes apart, and the block's number. */
function plainSum(block: Uint8Array, key: Uint8Array, number: number, tag: number): bigint {
  const word = (bytes: Uint8Array, at: number) => BigInt(new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true));
  const factor = (a: bigint, b: bigint) => ((a + b) % shifted) + shifted;
  let sum = 0n;
  for (let at = 0; at < BLOCK; at += at % 16 === 12 ? 20 : 4) {
    sum += factor(word(block, at), word(key, at)) * factor(word(block, at + 16), word(key, at + 16));
  }
  const address = BigInt(tag) * 2n ** 56n + BigInt(number);
  sum += factor(address % shifted, word(key, BLOCK)) * factor(address / shifted, word(key, BLOCK + 4));
  return sum % 2n ** 64n || 1n;
}

/** Numbers from 0 up to 2^32, the same ones for the same seed. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  };
}

function open(kernels: 'wasm-simd' | 'javascript', seed: number) {
  const memory = new BufferMemory({ bytes: 1 << 20, kernels });
  const base = memory.allocRegion(256 * 1024);
  // This also puts the tables of the kernels in place before the memory is copied.
  expect(memory.kernels.implementation).toBe(kernels);
  const key = memory.allocRegion(BLOCK_SUM_KEY_BYTES);
  const random = numbersFrom(seed);
  makeBlockSumKey(Uint8Array.from({ length: 32 }, random), memory.u8.subarray(key, key + BLOCK_SUM_KEY_BYTES));
  for (let at = base; at < base + 256 * 1024; at += 4) memory.view.setUint32(at, random(), true);
  return { memory, base, key, random };
}

describe.each(['wasm-simd', 'javascript'] as const)('block sums of the %s kernels', (implementation) => {
  it('equal the definition, of any contents, count, alignment, number and tag', () => {
    const { memory, base, key, random } = open(implementation, 1);
    const contents: ((addr: number) => void)[] = [
      () => undefined,
      (addr) => memory.u8.fill(0, addr, addr + BLOCK),
      (addr) => memory.u8.fill(255, addr, addr + BLOCK),
      // All factors have extreme values: the words are the key's, negated, or one less.
      (addr) => {
        for (let at = 0; at < BLOCK; at += 4) memory.view.setUint32(addr + at, -memory.view.getUint32(key + at, true), true);
      },
      (addr) => {
        for (let at = 0; at < BLOCK; at += 4) memory.view.setUint32(addr + at, ~memory.view.getUint32(key + at, true), true);
      },
    ];
    const numbers = [0, 1, 2 ** 32 - 2, 2 ** 31 - 1, 2 ** 53 - 16, 0x1234_5678_9abc];
    for (let round = 0; round < 60; round++) {
      const count = round % 6;
      const addr = base + 8192 + (round % 3) * 7;
      const sums = base + (round % 5);
      for (let i = 0; i < count; i++) contents[(round + i) % contents.length]!(addr + i * BLOCK);
      const first = numbers[round % numbers.length]!;
      const tag = random() % 256;
      const bytes = memory.u8.slice();
      memory.kernels.blockSums(sums, addr, count, key, first, tag);
      const keyBytes = bytes.subarray(key, key + BLOCK_SUM_KEY_BYTES);
      for (let i = 0; i < count; i++) {
        const at = addr + i * BLOCK;
        const sum = plainSum(bytes.subarray(at, at + BLOCK), keyBytes, first + i, tag);
        new DataView(bytes.buffer).setBigUint64(sums + i * 8, sum, true);
      }
      expect(Buffer.compare(memory.u8, bytes)).toBe(0);
      expect(memory.kernels.wrongBlock(sums, addr, count, key, first, tag)).toBe(count);
      for (let i = 0; i < count; i++) {
        const at = sums + i * 8 + (random() % 8);
        memory.u8[at]! ^= 1;
        expect(memory.kernels.wrongBlock(sums, addr, count, key, first, tag)).toBe(i);
        memory.u8[at]! ^= 1;
      }
      expect(Buffer.compare(memory.u8, bytes)).toBe(0);
    }
  });

  it('refuse ranges, counts, numbers and tags that make no sense, having written nothing', () => {
    const { memory, base, key } = open(implementation, 2);
    const before = memory.u8.slice();
    const { kernels, bytes } = memory;
    const block = base + 8192;
    const refused: (() => void)[] = [
      () => kernels.blockSums(bytes - 7, block, 1, key, 0, 0),
      () => kernels.blockSums(base, bytes - 4095, 1, key, 0, 0),
      () => kernels.blockSums(base, block, 1, bytes - BLOCK_SUM_KEY_BYTES + 1, 0, 0),
      () => kernels.blockSums(block + 4095, block, 1, key, 0, 0),
      () => kernels.blockSums(block - 8, block, 2, key, 0, 0),
      () => kernels.blockSums(key + BLOCK_SUM_KEY_BYTES - 1, block, 1, key, 0, 0),
      () => kernels.blockSums(base, block, -1, key, 0, 0),
      () => kernels.blockSums(base, block, 1.5, key, 0, 0),
      () => kernels.blockSums(base, block, 1, key, -1, 0),
      () => kernels.blockSums(base, block, 1, key, 2 ** 53 - 1, 0),
      () => kernels.blockSums(base, block, 1, key, NaN, 0),
      () => kernels.blockSums(base, block, 1, key, 0, 256),
      () => kernels.blockSums(base, block, 1, key, 0, -1),
      () => void kernels.wrongBlock(bytes - 7, block, 1, key, 0, 0),
      () => void kernels.wrongBlock(base, bytes, 1, key, 0, 0),
      () => void kernels.wrongBlock(base, block, 1, bytes, 0, 0),
      () => void kernels.wrongBlock(base, block, 1, key, 0.5, 0),
    ];
    for (const call of refused) expect(call, call.toString()).toThrow(RangeError);
    expect(Buffer.compare(memory.u8, before)).toBe(0);
  });
});

describe('what block sums find', () => {
  /** A block with its sum; `differs` says whether damage done to it is found. */
  function withBlock(seed: number, fill?: number) {
    const { memory, base, key, random } = open('wasm-simd', seed);
    const block = base + 8192;
    if (fill !== undefined) memory.u8.fill(fill, block, block + BLOCK);
    memory.kernels.blockSums(base, block, 1, key, 77, 3);
    const right = memory.u8.slice(block, block + BLOCK);
    return {
      memory,
      block,
      random,
      isFound: () => memory.kernels.wrongBlock(base, block, 1, key, 77, 3) === 0,
      isAt: (number: number, tag: number) => memory.kernels.wrongBlock(base, block, 1, key, number, tag) === 1,
      isDamaged: () => Buffer.compare(memory.u8.subarray(block, block + BLOCK), right) !== 0,
      mend: () => memory.u8.set(right, block),
    };
  }
  const blocks = () => [withBlock(11), withBlock(12), withBlock(13, 0), withBlock(14, 255)];

  it('every error of one bit, and whatever else happens to one word', () => {
    let missed = 0;
    for (const { memory, block, random, isFound } of blocks()) {
      for (let bit = 0; bit < BLOCK * 8; bit++) {
        memory.u8[block + (bit >> 3)]! ^= 1 << (bit & 7);
        if (!isFound()) missed++;
        memory.u8[block + (bit >> 3)]! ^= 1 << (bit & 7);
      }
      for (let at = block; at < block + BLOCK; at += 4) {
        const right = memory.view.getUint32(at, true);
        for (const wrong of [0, 0xffff_ffff, right ^ 0x8000_0000, ~right >>> 0, right + 1, right - 1, random(), random()]) {
          if (wrong >>> 0 === right) continue;
          memory.view.setUint32(at, wrong, true);
          if (!isFound()) missed++;
        }
        memory.view.setUint32(at, right, true);
      }
    }
    expect(missed).toBe(0);
  });

  it('errors of two bits, bursts, swapped words and sectors, shifted bytes, pieces of zeros and of other blocks', () => {
    let missed = 0;
    let tried = 0;
    for (const { memory, block, random, isFound, isDamaged, mend } of blocks()) {
      const flip = (bit: number) => (memory.u8[block + (bit >> 3)]! ^= 1 << (bit & 7));
      const below = (limit: number) => random() % limit;
      const copy = (to: number, from: number, length: number) =>
        memory.u8.copyWithin(block + to, block + from, block + from + length);
      const swap = (bytes: number) => {
        const [a, b] = [below(BLOCK / bytes) * bytes, below(BLOCK / bytes) * bytes];
        const first = memory.u8.slice(block + a, block + a + bytes);
        copy(a, b, bytes);
        memory.u8.set(first, block + b);
      };
      const kinds: (() => void)[] = [
        () => {
          flip(below(BLOCK * 8));
          flip(below(BLOCK * 8));
        },
        () => {
          // The burst has 2 to 64 bits, of which both ends are wrong.
          const length = 2 + below(63);
          const start = below(BLOCK * 8 - length + 1);
          flip(start);
          flip(start + length - 1);
          for (let bit = start + 1; bit < start + length - 1; bit++) if (below(2) === 1) flip(bit);
        },
        ...[1, 2, 4, 8, 16, 32, 512].map((bytes) => () => swap(bytes)),
        () => copy(1, 0, BLOCK - 1 - below(64)),
        () => memory.u8.fill(0, block + below(8) * 512, block + BLOCK),
        // Only the first sectors of this write arrived.
        () => memory.u8.copyWithin(block + below(8) * 512, block + 2 * BLOCK, block + 2 * BLOCK + 512),
        () => memory.u8.copyWithin(block, block + below(BLOCK), block + 2 * BLOCK),
        () => memory.view.setUint32(block + below(1024) * 4, random(), true),
      ];
      for (let round = 0; round < 40_000; round++) {
        kinds[round % kinds.length]!();
        if (isDamaged()) {
          tried++;
          if (isFound()) mend();
          else missed++;
        }
      }
    }
    expect(missed).toBe(0);
    expect(tried).toBeGreaterThan(80_000);
  });

  it('a block at another place, or of another member', () => {
    for (const { isAt, random } of blocks()) {
      expect(isAt(77, 3)).toBe(true);
      for (let bit = 0; bit < 53; bit++) expect(isAt(bit < 31 ? 77 ^ (1 << bit) : 77 + 2 ** bit, 3)).toBe(false);
      for (let tag = 0; tag < 256; tag++) if (tag !== 3) expect(isAt(77, tag)).toBe(false);
      for (let i = 0; i < 10_000; i++) expect(isAt(78 + random(), 3)).toBe(false);
    }
  });

  it('random damage, each byte of the sum as evenly as chance has it', () => {
    const { memory, base, key, random } = open('wasm-simd', 15);
    const block = base + 8192;
    const rounds = 100_000;
    const same = Array<number>(8).fill(0);
    for (let round = 0; round < rounds; round++) {
      // A sector of noise in one of 40 blocks, in turn.
      const addr = block + (round % 40) * BLOCK;
      memory.kernels.blockSums(base, addr, 1, key, 5, 0);
      const start = addr + (random() % 8) * 512;
      for (let at = start; at < start + 512; at += 4) memory.view.setUint32(at, random(), true);
      memory.kernels.blockSums(base + 8, addr, 1, key, 5, 0);
      for (let i = 0; i < 8; i++) if (memory.u8[base + i] === memory.u8[base + 8 + i]) same[i]!++;
    }
    // The expected rate is 1 in 256; five standard deviations are allowed either way.
    const deviation = Math.sqrt(rounds / 256);
    for (const count of same) expect(Math.abs(count - rounds / 256)).toBeLessThan(5 * deviation);
  });
});

describe('the key of block sums', () => {
  it('is SHA-256 of the salt and a number, over and over', () => {
    const salt = Buffer.from('0123456789abcdef0123456789abcdef', 'latin1');
    const key = new Uint8Array(BLOCK_SUM_KEY_BYTES);
    makeBlockSumKey(salt, key);
    const hash = (n: number) =>
      createHash('sha256')
        .update(Buffer.concat([salt, Buffer.of(n, 0, 0, 0)]))
        .digest();
    expect(Buffer.from(key.subarray(0, 64))).toEqual(Buffer.concat([hash(0), hash(1)]));
    expect(Buffer.from(key.subarray(4096))).toEqual(hash(128).subarray(0, 8));
    expect(() => makeBlockSumKey(salt, new Uint8Array(4096))).toThrow(RangeError);
  });

  it('makes sums that do not change from one version to the next', () => {
    for (const kernels of ['wasm-simd', 'javascript'] as const) {
      const memory = new BufferMemory({ bytes: 65_536 * 4, kernels });
      const base = memory.allocRegion(65_536);
      const key = base + 32_768;
      makeBlockSumKey(Buffer.alloc(32, 7), memory.u8.subarray(key, key + BLOCK_SUM_KEY_BYTES));
      for (let i = 0; i < BLOCK; i++) memory.u8[base + 8192 + i] = i * 31 + (i >> 8);
      memory.kernels.blockSums(base, base + 4096, 2, key, 1_000_000, 2);
      expect(Buffer.from(memory.buffer, base, 16).toString('hex')).toBe('9c46f2b681011578eb6d59544ceb75b5');
    }
  });
});
