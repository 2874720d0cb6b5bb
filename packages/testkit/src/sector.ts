/** Unit of atomicity: a device writes a sector wholly or not at all. */
export const sectorBytes = 512;

const words = sectorBytes / 4;
/** Difference between two consecutive words of a sector's contents. */
const step = 0x9e37_79b9;
const zeros = new Uint8Array(64 * 1024);
/** Result of {@link readTag} for a sector that no write can have made. */
export const noTag = -1;

/** Fills sectors with contents that identify the write that made them and the sector they belong to. Tag 0 stands for zeros. */
export function fillSectors(target: Int32Array, firstWord: number, firstSector: number, count: number, tag: number): void {
  if (tag === 0) {
    target.fill(0, firstWord, firstWord + count * words);
    return;
  }
  let at = firstWord;
  for (let sector = firstSector; sector < firstSector + count; sector++) {
    let word = mix(tag, sector);
    target[at] = tag;
    target[at + 1] = sector;
    for (let i = 2; i < words; i++) {
      word = (word + step) | 0;
      target[at + i] = word;
    }
    at += words;
  }
}

/** Returns the tag of a sector, or {@link noTag} if its contents are not exactly what the write with this tag put there. */
export function readTag(source: Int32Array, firstWord: number, sector: number): number {
  const tag = source[firstWord] ?? 0;
  if (tag === 0) return areZeros(source, firstWord, 1) ? 0 : noTag;
  if (source[firstWord + 1] !== sector) return noTag;
  let word = mix(tag, sector);
  const end = firstWord + words;
  // Two words at a time, because the simulation spends most of its time here.
  for (let i = firstWord + 2; i < end; i += 2) {
    if (source[i] !== ((word + step) | 0)) return noTag;
    word = (word + 2 * step) | 0;
    if (source[i + 1] !== word) return noTag;
  }
  return tag > 0 ? tag : noTag;
}

/** Whether these sectors hold zeros. */
export function areZeros(source: Int32Array, firstWord: number, count: number): boolean {
  const bytes = Buffer.from(source.buffer, source.byteOffset + firstWord * 4, count * sectorBytes);
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const length = Math.min(zeros.length, bytes.length - at);
    if (bytes.compare(zeros, 0, length, at, at + length) !== 0) return false;
  }
  return true;
}

/** Uses sums and products, so that the exclusive or of sectors is never a valid sector. */
function mix(tag: number, sector: number): number {
  let z = (Math.imul(tag, 0x85eb_ca6b) + Math.imul(sector + 1, 0xc2b2_ae35)) | 0;
  z = Math.imul(z ^ (z >>> 15), 0x2c1b_3c6d);
  return (z ^ (z >>> 13)) | 0;
}
