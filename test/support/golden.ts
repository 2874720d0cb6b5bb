import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fillPattern } from './pattern.js';

/**
 * Arrays made by real SPDK. Their members are megabytes of a known pattern, so the repository holds, for each member, what is
 * not pattern (its superblock) and the SHA-256 of the image that SPDK wrote; the image is made from the pattern, with an
 * address map of the tests' own, and must have that sum. What passes is SPDK's image, byte for byte.
 */
export interface GoldenSet {
  set: string;
  folder: string;
  level: 'raid0' | 'raid1' | 'raid5f' | 'concat';
  stripSizeKb: number;
  blockSize: number;
  name: string;
  uuid: string;
  arrayBytes: number;
  arrayBytesNow: number;
  membersForAssembly: number[];
  content: { gen: number; start_sector: number; bytes: number }[];
  members: GoldenMember[];
}

export interface GoldenMember {
  bytes: number;
  uuid: string;
  sha256: string;
  /** The first bytes of the member, base64: its superblock. */
  head: string;
  /** The slot whose contents it has, and how many entries of `content` had been written when it was last current. */
  slot: number;
  contentEntries: number;
}

const file = new URL('../fixtures/golden.json', import.meta.url);

export function goldenSets(): GoldenSet[] {
  return JSON.parse(readFileSync(file, 'utf8')) as GoldenSet[];
}

/** The array's contents, of its first `entries` writes. */
export function arrayContent(set: GoldenSet, entries = set.content.length): Uint8Array {
  const bytes = new Uint8Array(set.arrayBytesNow);
  for (const { gen, start_sector, bytes: length } of set.content.slice(0, entries)) {
    fillPattern(bytes.subarray(start_sector * 512, start_sector * 512 + length), start_sector, gen);
  }
  return bytes;
}

const dataOffset = 1 << 20;

/** The member's image as SPDK left it. Throws if it is not that. */
export function memberImage(set: GoldenSet, index: number): Uint8Array {
  const member = set.members[index]!;
  const image = buildImage(set, member);
  const sum = createHash('sha256').update(image).digest('hex');
  if (sum !== member.sha256) throw new Error(`${set.folder} m${index}: this is not the image that SPDK wrote`);
  return image;
}

export function buildImage(set: GoldenSet, member: GoldenMember): Uint8Array {
  const image = new Uint8Array(member.bytes);
  image.set(Buffer.from(member.head, 'base64'));
  const array = arrayContent(set, member.contentEntries).subarray(0, set.arrayBytes);
  const strip = set.stripSizeKb * 1024;
  const { slot } = member;
  const n = Math.max(...set.members.map((other) => other.slot)) + 1;
  const put = (memberByte: number, data: Uint8Array): void => image.set(data, dataOffset + memberByte);
  if (set.level === 'raid1') {
    put(0, array);
  } else if (set.level === 'raid0') {
    for (let k = slot; k * strip < array.length; k += n)
      put(((k - slot) / n) * strip, array.subarray(k * strip, (k + 1) * strip));
  } else if (set.level === 'concat') {
    const size = (bytes: number): number => Math.floor((bytes - dataOffset) / strip) * strip;
    const start = set.members.slice(0, slot).reduce((sum, { bytes }) => sum + size(bytes), 0);
    put(0, array.subarray(start, start + size(member.bytes)));
  } else {
    const stripe = strip * (n - 1);
    for (let s = 0; (s + 1) * stripe <= array.length; s++) {
      const parity = n - 1 - (s % n);
      const chunk = (j: number): Uint8Array => array.subarray(s * stripe + j * strip, s * stripe + (j + 1) * strip);
      if (slot === parity) put(s * strip, xor(Array.from({ length: n - 1 }, (_, j) => chunk(j))));
      else put(s * strip, chunk(slot < parity ? slot : slot - 1));
    }
  }
  return image;
}

function xor(chunks: Uint8Array[]): Uint8Array {
  const result = new Uint32Array(chunks[0]!.length / 4);
  for (const chunk of chunks) {
    const words = new Uint32Array(chunk.slice().buffer);
    for (let i = 0; i < result.length; i++) result[i] = result[i]! ^ words[i]!;
  }
  return new Uint8Array(result.buffer);
}
