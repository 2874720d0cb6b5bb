/** GF(2^8) as RAID-6 uses it: polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator 2. */
export function gfMultiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0, shifted = a; bit < 8; bit++) {
    if (b & (1 << bit)) product ^= shifted;
    shifted = (shifted << 1) ^ (shifted & 0x80 ? 0x11d : 0);
  }
  return product;
}
