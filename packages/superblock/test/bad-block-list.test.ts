import type { BadBlockList, MapLife } from '@raidkit/core';
import { expect, it } from 'vitest';
import { badBlocksLayout, badBlocksLength, encodeBadBlocks, mostBadRanges, parseBadBlocks } from '../src/bad-block-list.js';
import { crc32c } from '../src/crc32c.js';

const life: MapLife = { uuid: '5d190000-0000-4000-8000-0000000000ff', incarnation: '0123456789abcdef' };

function list(count: number): BadBlockList {
  const ranges = Array.from({ length: count }, (_, index) => ({
    slot: index % 255,
    offsetBlocks: 2 ** 40 + index * 10,
    numBlocks: 1 + index,
  }));
  return { generation: 2 ** 33 + 1, ranges };
}

it.each([0, 1, 300, mostBadRanges])('a list of %i ranges is read as it was written', (count) => {
  const bytes = encodeBadBlocks(life, list(count));
  expect(bytes.length % badBlocksLayout.unitBytes).toBe(0);
  expect(bytes.length).toBeLessThanOrEqual(badBlocksLayout.bytes);
  expect(parseBadBlocks(bytes, life)).toEqual(list(count));
});

it('long ranges keep their length', () => {
  const written = { generation: 1, ranges: [{ slot: 254, offsetBlocks: 0, numBlocks: 2 ** 45 + 7 }] };
  expect(parseBadBlocks(encodeBadBlocks(life, written), life)).toEqual(written);
});

it('a list that is too long is refused before it is written', () => {
  expect(() => encodeBadBlocks(life, list(mostBadRanges + 1))).toThrow(/ranges.length is 4093; .* 4092/);
});

it('what is damaged, cut short, or of another array or life is no list', () => {
  const bytes = encodeBadBlocks(life, list(300));
  for (let at = 0; at < badBlocksLength(bytes); at += 97) {
    const damaged = bytes.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    expect(parseBadBlocks(damaged, life)).toBeNull();
  }
  expect(parseBadBlocks(bytes.subarray(0, 4096), life)).toBeNull();
  expect(parseBadBlocks(new Uint8Array(4096), life)).toBeNull();
  expect(parseBadBlocks(new Uint8Array(8), life)).toBeNull();
  expect(parseBadBlocks(bytes, { ...life, incarnation: '0123456789abcdee' })).toBeNull();
  expect(parseBadBlocks(bytes, { ...life, uuid: '5d190000-0000-4000-8000-0000000000fe' })).toBeNull();
});

it.each([
  ['a generation that cannot be counted on from', { generation: 2 ** 53 - 1 }, /generation is 9007199254740991/],
  ['an empty range', { ranges: [{ slot: 0, offsetBlocks: 8, numBlocks: 0 }] }, /ranges\[0\] has 0 blocks from 8 on/],
  ['a range that ends nowhere', { ranges: [{ slot: 0, offsetBlocks: 2 ** 53 - 1, numBlocks: 1 }] }, /end before 2\^53/],
  ['a slot that no array has', { ranges: [{ slot: 255, offsetBlocks: 8, numBlocks: 1 }] }, /slot is 255; .* 254/],
] as [string, Partial<BadBlockList>, RegExp][])('a list with %s is none, and is not written', (_, changes, message) => {
  const written = { generation: 1, ranges: [{ slot: 0, offsetBlocks: 8, numBlocks: 1 }] };
  const wrong = { ...written, ...changes };
  expect(() => encodeBadBlocks(life, wrong)).toThrow(message);
  const bytes = encodeBadBlocks(life, written);
  const view = new DataView(bytes.buffer);
  const [range] = wrong.ranges;
  view.setBigUint64(16, BigInt(wrong.generation), true);
  view.setBigUint64(64, BigInt(range!.offsetBlocks), true);
  view.setUint32(72, range!.numBlocks, true);
  view.setUint16(78, range!.slot, true);
  view.setUint32(8, 0, true);
  view.setUint32(8, crc32c(bytes.subarray(0, 80)), true);
  expect(parseBadBlocks(bytes, life)).toBeNull();
});
