/** GF(2^8) as RAID-6 uses it: polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator 2. */
export function gfMultiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0, shifted = a; bit < 8; bit++) {
    if (b & (1 << bit)) product ^= shifted;
    shifted = (shifted << 1) ^ (shifted & 0x80 ? 0x11d : 0);
  }
  return product;
}

/** Powers 2^k for k from 0 to 254; they repeat from 255 on. */
const powers = new Uint8Array(255);
/** Logarithms: the k of each 2^k. */
const logarithms = new Uint8Array(256);
for (let exponent = 0, power = 1; exponent < 255; exponent++, power = gfMultiply(power, 2)) {
  powers[exponent] = power;
  logarithms[power] = exponent;
}

/** Returns 2^exponent, the coefficient of source `exponent` in Q. `exponent` is 0 or more. */
export function gfPower(exponent: number): number {
  return powers[exponent % 255] ?? 0;
}

/** Returns the multiplicative inverse of `a`, 1 to 255. */
export function gfInverse(a: number): number {
  return gfPower(255 - (logarithms[a] ?? 0));
}
