import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RegionState } from '../src/bitmap/region-state.js';
import { knowledgeOf } from '../src/bitmap/sums-knowledge.js';
import type { KnownRegions } from '../src/bitmap/sums-knowledge.js';

const regionSums = 8;

function known(states: number[], unstable: number[] = [], summedBlocks = Infinity, perSum = 1): KnownRegions {
  return {
    blockSize: 4096 / perSum,
    bitmap: { regionBlocks: regionSums * perSum, states: Uint8Array.from(states) },
    consistency: {
      isUnstable: (start, count) => unstable.some((block) => block * perSum < start + count && start < (block + 1) * perSum),
    },
    isForeign: false,
    summedBlocks,
  };
}

it.each([
  [RegionState.Unwritten, false, false],
  [RegionState.Clean, true, true],
  [RegionState.Dirty, true, false],
  [RegionState.OutOfSync, true, false],
])(
  'sums in a region of state %i count on a current member: %s, and on one that is being filled: %s',
  (state, current, filled) => {
    const array = known([state]);
    expect(knowledgeOf(array, { isInSync: true }).counts(3)).toBe(current);
    expect(knowledgeOf(array, { isInSync: false }).counts(3)).toBe(filled);
  },
);

it('what was dirty before the start does not count, nor what has not been summed', () => {
  const array = known([RegionState.Dirty, RegionState.Clean, RegionState.Clean], [2, 3], 12);
  const sums = knowledgeOf(array, { isInSync: true });
  expect(Array.from({ length: 24 }, (_, block) => sums.counts(block))).toEqual(
    Array.from({ length: 24 }, (_, block) => block < 12 && block !== 2 && block !== 3),
  );
  expect([0, 2, 4, 12].map((block) => sums.endOfRun(block, 24))).toEqual([2, 4, 12, 24]);
  expect(sums.endOfRun(4, 10)).toBe(10);
});

it('runs end where what counts changes, and nowhere else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat(47), { maxLength: 6 }),
      fc.nat(60),
      fc.constantFrom(1, 8),
      fc.boolean(),
      (states, unstable, summed, perSum, isInSync) => {
        const sums = knowledgeOf(known(states, unstable, summed, perSum), { isInSync });
        const limit = states.length * regionSums;
        for (let block = 0; block < limit; block++) {
          let end = block + 1;
          while (end < limit && sums.counts(end) === sums.counts(block)) end++;
          expect(sums.endOfRun(block, limit)).toBe(end);
        }
      },
    ),
  );
});
