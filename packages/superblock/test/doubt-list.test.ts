import type { DoubtList, MapLife } from '@raidkit/core';
import { expect, it } from 'vitest';
import { encodeDoubtList, mostDoubtRanges, parseDoubtList } from '../src/doubt-list.js';

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
    // Where only the tail is old, and the same, it is whole.
    if (read !== null) expect(read).toEqual(listOf(mostDoubtRanges));
  }
  expect(parseDoubtList(new Uint8Array(0), life)).toBeNull();
});
