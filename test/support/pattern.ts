/** What the arrays made by SPDK were filled with: sector S of generation G holds 64 words, splitmix64((G << 48) + S) ^ j. */

const mask = (1n << 64n) - 1n;

function splitmix64(x: bigint): bigint {
  let z = (x + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

/** Fills `target` with sectors of 512 bytes from `firstSector` on. */
export function fillPattern(target: Uint8Array, firstSector: number, generation: number): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  for (let sector = 0; sector * 512 < target.length; sector++) {
    const base = splitmix64(((BigInt(generation) << 48n) + BigInt(firstSector + sector)) & mask);
    const low = Number(base & 0xffffffffn);
    const high = Number(base >> 32n);
    for (let word = 0; word < 64; word++) {
      view.setUint32(sector * 512 + word * 8, low ^ word, true);
      view.setUint32(sector * 512 + word * 8 + 4, high, true);
    }
  }
}
