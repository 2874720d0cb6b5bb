import { crc32cTables } from '@raidkit/parity';

const table = crc32cTables(1);

/**
 * CRC-32C of `bytes[start, end)`, unsigned, in the form that SPDK uses: it starts from `initial` and inverts nothing.
 * "123456789" gives 0x58e3fa20 from 0. The result of one range as the `initial` of the next gives that of both.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
  let crc = initial;
  for (let i = start; i < end; i++) crc = (table[(crc ^ (bytes[i] ?? 0)) & 255] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
