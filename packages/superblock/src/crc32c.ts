/** CRC-32C, Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  return crc;
});

/**
 * CRC-32C of `bytes[start, end)`, unsigned, in the form that SPDK uses: it starts from `initial` and inverts nothing.
 * "123456789" gives 0x58e3fa20 from 0. The result of one range as the `initial` of the next gives that of both.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
  let crc = initial;
  for (let i = start; i < end; i++) crc = (TABLE[(crc ^ (bytes[i] ?? 0)) & 255] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
