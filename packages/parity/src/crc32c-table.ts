/** CRC-32C, Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78;

/** `count` tables of 256 words: table k advances a byte that k bytes follow, which lets a loop take `count` bytes at a time. */
export function crc32cTables(count: number): Uint32Array {
  const tables = new Uint32Array(256 * count);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    tables[byte] = crc;
  }
  for (let index = 256; index < tables.length; index++) {
    const previous = tables[index - 256] ?? 0;
    tables[index] = (previous >>> 8) ^ (tables[previous & 255] ?? 0);
  }
  return tables;
}
