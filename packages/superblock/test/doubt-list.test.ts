import type { DoubtList, MapLife } from '@raidkit/core';
import { expect, it } from 'vitest';
import { encodeDoubtList, mostDoubtRanges, parseDoubtList } from '../src/doubt-list.js';
import { crc32c } from '../src/crc32c.js';

const life: MapLife = { uuid: '5d190000-0000-4000-8000-0000000000ff', incarnation: '0123456789abcdef' };

function listOf(count: number): DoubtList {
  return {
    generation: 7,
    ranges: Array.from({ length: count }, (_, index) => ({ start: 2 ** 40 + index * 64, count: 1 + index })),
  };
}

it.each([0, 1, mostDoubtRanges])('a list of %i ranges is read as it was written', (count) => {
  expect(parseDoubtList(encodeDoubtList(life, listOf(count)), life)).toEqual(listOf(count));
});

it('a list of another life is none', () => {
  const bytes = encodeDoubtList(life, listOf(3));
  expect(parseDoubtList(bytes, { ...life, incarnation: '0123456789abcdee' })).toBeNull();
  expect(parseDoubtList(bytes, { ...life, uuid: '5d190000-0000-4000-8000-0000000000fe' })).toBeNull();
});

it('a damaged or torn list is none', () => {
  const bytes = encodeDoubtList(life, listOf(mostDoubtRanges));
  for (let at = 0; at < bytes.length; at += 97) {
    const damaged = bytes.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    expect(parseDoubtList(damaged, life)).toBeNull();
  }
  const older = encodeDoubtList(life, { ...listOf(mostDoubtRanges), generation: 5 });
  for (let at = 512; at < bytes.length; at += 512) {
    const torn = older.slice();
    torn.set(bytes.subarray(0, at));
    const read = parseDoubtList(torn, life);
    // The list is valid if only its tail is old, and equal.
    if (read !== null) expect(read).toEqual(listOf(mostDoubtRanges));
  }
  expect(parseDoubtList(new Uint8Array(0), life)).toBeNull();
});

it.each([
  ['a generation that cannot be counted on from', { generation: 2 ** 53 - 1 }, /generation is 9007199254740991/],
  ['an empty range', { ranges: [{ start: 8, count: 0 }] }, /ranges\[0\] has 0 blocks from 8 on/],
  ['a range that ends nowhere', { ranges: [{ start: 13_120, count: 2 ** 62 }] }, /end before 2\^53/],
] as [string, Partial<DoubtList>, RegExp][])('a list with %s is none, and is not written', (_, changes, message) => {
  const wrong = { ...listOf(1), ...changes };
  expect(() => encodeDoubtList(life, wrong)).toThrow(message);
  const bytes = encodeDoubtList(life, listOf(1));
  const view = new DataView(bytes.buffer);
  const [range] = wrong.ranges;
  view.setBigUint64(16, BigInt(wrong.generation), true);
  view.setBigUint64(64, BigInt(range!.start), true);
  view.setBigUint64(72, BigInt(range!.count), true);
  view.setUint32(8, 0, true);
  view.setUint32(8, crc32c(bytes), true);
  expect(parseDoubtList(bytes, life)).toBeNull();
});
