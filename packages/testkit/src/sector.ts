/** The unit of atomicity: a device writes a sector wholly or not at all. */
export const sectorBytes = 512;

const words = sectorBytes / 4;
/** What {@link readTag} says of a sector that nobody can have written. */
export const noTag = -1;

/** Fills sectors with contents that say which write made them and where they belong. Tag 0 is zeros. */
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
      word = (word + 0x9e37_79b9) | 0;
      target[at + i] = word;
    }
    at += words;
  }
}

/** The tag of a sector, or {@link noTag} if its contents are not, every bit of them, what that write put there. */
export function readTag(source: Int32Array, firstWord: number, sector: number): number {
  const tag = source[firstWord] ?? 0;
  if (tag === 0) {
    for (let i = 1; i < words; i++) if (source[firstWord + i] !== 0) return noTag;
    return 0;
  }
  if (source[firstWord + 1] !== sector) return noTag;
  let word = mix(tag, sector);
  for (let i = 2; i < words; i++) {
    word = (word + 0x9e37_79b9) | 0;
    if (source[firstWord + i] !== word) return noTag;
  }
  return tag > 0 ? tag : noTag;
}

/** Sums and products, so that the exclusive or of sectors is no sector. */
function mix(tag: number, sector: number): number {
  let z = (Math.imul(tag, 0x85eb_ca6b) + Math.imul(sector + 1, 0xc2b2_ae35)) | 0;
  z = Math.imul(z ^ (z >>> 15), 0x2c1b_3c6d);
  return (z ^ (z >>> 13)) | 0;
}
