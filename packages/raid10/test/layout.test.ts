import { canLoseAny, canRun, checkOptions, maxMissing } from '@raidkit/core';
import type { LevelOptions } from '@raidkit/core';
import { raid10 } from '@raidkit/raid10';
import { expect, it } from 'vitest';

/** All sets of so many of these slots. */
function subsets(numSlots: number, size: number, from = 0): number[][] {
  if (size === 0) return [[]];
  const first = Array.from({ length: numSlots - from }, (_, index) => from + index);
  return first.flatMap((slot) => subsets(numSlots, size - 1, slot + 1).map((rest) => [slot, ...rest]));
}

/** Slots of the copies of each strip, by md's rule: near copies follow one another, offset copies are rotated by one. */
function strips(numSlots: number, copies: number, layout: string): number[][] {
  return Array.from({ length: numSlots }, (_, strip) =>
    Array.from({ length: copies }, (__, copy) => (layout === 'near' ? strip * copies + copy : strip + copy) % numSlots),
  );
}

it('an array is offline when all copies of something are gone, and only then', () => {
  for (let numSlots = 2; numSlots <= 7; numSlots++)
    for (let copies = 2; copies <= Math.min(4, numSlots); copies++)
      for (const layout of ['near', 'offset']) {
        const options: LevelOptions = { copies, layout };
        let most = 0;
        for (let size = 1; size <= numSlots; size++)
          for (const missing of subsets(numSlots, size)) {
            const isThere = strips(numSlots, copies, layout).every((slots) => slots.some((slot) => !missing.includes(slot)));
            expect(canRun(raid10, numSlots, missing, options), `${layout} ${copies} of ${numSlots} - ${missing.join()}`).toBe(
              isThere,
            );
            if (isThere) most = size;
          }
        expect(maxMissing(raid10, numSlots, options), `${layout} ${copies} of ${numSlots}`).toBe(most);
        expect(canLoseAny(raid10, numSlots, [], options)).toBe(copies - 1);
      }
});

it.each<[LevelOptions, RegExp]>([
  [{ copies: 1 }, /copies must be an integer from 2 to 255, not 1: how often each block is there/],
  [{ copies: '2' }, /copies must be an integer from 2 to 255, not "2"/],
  [{ layout: 'far' }, /layout must be near or offset, not "far": .*so far apart/],
  [{ layout: 'n2' }, /layout must be near or offset, not "n2"/],
  [{ near: 2 }, /level raid10 has no option near: it has copies, layout/],
])('refuses the options %o', (options, message) => {
  expect(() => checkOptions(raid10, options)).toThrow(message);
});
