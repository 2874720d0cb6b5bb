import { crc32cTables } from '@raidkit/parity';

const tables = crc32cTables(4);

/**
 * CRC-32C of `bytes[start, end)`, unsigned, in SPDK's form: it starts from `initial` and inverts nothing. "123456789" gives
 * 0x58e3fa20 from 0. Passing one range's result as the next one's `initial` gives the checksum of both.
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
  let crc = initial;
  let i = start;
  // Four bytes at a time, each with a table for the number of bytes that follow it.
  for (const last = end - 4; i <= last; i += 4) {
    crc ^= (bytes[i] ?? 0) | ((bytes[i + 1] ?? 0) << 8) | ((bytes[i + 2] ?? 0) << 16) | ((bytes[i + 3] ?? 0) << 24);
    crc =
      (tables[768 + (crc & 255)] ?? 0) ^
      (tables[512 + ((crc >>> 8) & 255)] ?? 0) ^
      (tables[256 + ((crc >>> 16) & 255)] ?? 0) ^
      (tables[crc >>> 24] ?? 0);
  }
  for (; i < end; i++) crc = (tables[(crc ^ (bytes[i] ?? 0)) & 255] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}
