import { BufferMemory, gfInverse, gfMultiply, gfPower, recoverPq } from '@raidkit/parity';
import { expect, it } from 'vitest';

/** Multiplication by the definition: polynomials, reduced by x^8 + x^4 + x^3 + x^2 + 1. */
function product(a: number, b: number): number {
  let wide = 0;
  for (let bit = 0; bit < 8; bit++) if ((b >> bit) & 1) wide ^= a << bit;
  for (let bit = 14; bit >= 8; bit--) if ((wide >> bit) & 1) wide ^= 0x11d << (bit - 8);
  return wide;
}

it('powers of 2 are all numbers but 0, and each number has an inverse', () => {
  const powers = Array.from({ length: 255 }, (_, exponent) => gfPower(exponent));
  expect(new Set(powers).size).toBe(255);
  for (const [exponent, power] of powers.entries()) {
    expect(power).toBe(exponent === 0 ? 1 : product(powers[exponent - 1] ?? 0, 2));
    expect(gfMultiply(power, gfInverse(power))).toBe(1);
    expect(product(power, gfInverse(power))).toBe(1);
  }
});

for (const kernels of ['wasm-simd', 'javascript'] as const)
  it(`whichever one or two ranges are gone, they are worked out from the others (${kernels})`, () => {
    const memory = new BufferMemory({ bytes: 16 << 20, kernels });
    for (const [count, length] of [
      [1, 64],
      [2, 512],
      [3, 4096],
      [8, 1000],
      [253, 64],
    ] as const) {
      const addrs = Uint32Array.from({ length: count + 2 }, () => memory.allocRegion(length));
      const right = Array.from({ length: count + 2 }, () => new Uint8Array(length));
      for (let index = 0; index < count; index++)
        for (let at = 0; at < length; at++) {
          const byte = (Math.imul(at + 7, 2654435761 + index * 977) >>> 11) & 255;
          right[index]![at] = byte;
          right[count]![at]! ^= byte;
          right[count + 1]![at]! ^= product(gfPower(index), byte);
        }
      const places = count > 50 ? [0, 1, 127, count - 1, count, count + 1] : [...addrs.keys()];
      for (const first of places)
        for (const second of [-1, ...places.filter((place) => place > first)]) {
          for (const [place, addr] of addrs.entries()) memory.u8.set(right[place]!, addr);
          for (const place of [first, second]) if (place >= 0) memory.u8.fill(0xa5, addrs[place], addrs[place]! + length);
          // The parity that is not needed may have any contents.
          const other = second >= 0 ? -1 : first === count + 1 ? count : count + 1;
          if (other >= 0) memory.u8.fill(0x5a, addrs[other], addrs[other]! + length);
          const before = addrs.slice();
          recoverPq(memory, addrs, count, first, second, length);
          expect(addrs).toEqual(before);
          for (const [place, addr] of addrs.entries()) {
            if (place === other) continue;
            const isSame = Buffer.compare(memory.u8.subarray(addr, addr + length), right[place]!) === 0;
            expect(isSame, `place ${place} of ${count} without ${first} and ${second}`).toBe(true);
          }
        }
      for (const addr of addrs) memory.freeRegion(addr);
    }
    expect(() => recoverPq(memory, new Uint32Array(4), 2, 0, -1, memory.zeroBytes + 1)).toThrow(/lengthBytes must be at most/);
  });
