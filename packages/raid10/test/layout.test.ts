import { canLoseAny, canRun, checkOptions, maxMissing } from '@raidkit/core';
import type { LevelOptions } from '@raidkit/core';
import { raid10 } from '@raidkit/raid10';
import { expect, it } from 'vitest';
import { CopyMap, shapeOf } from '../src/copy-map.js';

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

/** Slots of each group: of those that strips are dealt to, and of those behind, which the groups get in turn. */
function groupsOf(numSlots: number, striped: number, copies: number): number[][] {
  const groups = Array.from({ length: striped / copies }, (_, group) =>
    Array.from({ length: copies }, (__, copy) => group * copies + copy),
  );
  for (let slot = striped; slot < numSlots; slot++) groups[(slot - striped) % groups.length]!.push(slot);
  return groups;
}

const withFurther = [2, 3].flatMap((copies) =>
  [1, 2, 3].flatMap((groups) => [0, 1, 2, 3].map((more) => ({ copies, more, striped: copies * groups }))),
);

it('with further copies a group is gone with the last of them', () => {
  for (const { copies, more, striped } of withFurther) {
    const numSlots = striped + more;
    if (numSlots > 8) continue;
    const options = { copies, striped };
    const groups = groupsOf(numSlots, striped, copies);
    let most = 0;
    for (let size = 1; size <= numSlots; size++)
      for (const missing of subsets(numSlots, size)) {
        const isThere = groups.every((slots) => slots.some((slot) => !missing.includes(slot)));
        expect(canRun(raid10, numSlots, missing, options), `${copies} of ${striped}+${more} - ${missing.join()}`).toBe(isThere);
        if (isThere) most = size;
      }
    expect(maxMissing(raid10, numSlots, options)).toBe(most);
    expect(canLoseAny(raid10, numSlots, [], options)).toBe(Math.min(...groups.map(({ length }) => length)) - 1);
  }
});

it('further copies leave all others where they are, and lie at the same blocks', () => {
  for (const { copies, more, striped } of withFurther) {
    const numSlots = striped + more;
    const bare = new CopyMap(8, shapeOf(striped, { copies }));
    const map = new CopyMap(8, shapeOf(numSlots, { copies, striped }));
    const groups = groupsOf(numSlots, striped, copies);
    expect(map.groups).toEqual(groups);
    expect([map.arrayBlocks, map.memberBlocks]).toEqual([bare.arrayBlocks, bare.memberBlocks]);
    for (let block = 0; block < 2 * map.arrayBlocks + 8; block += 3) {
      const strip = map.stripAt(block);
      expect([strip, map.baseOf(block)]).toEqual([bare.stripAt(block), bare.baseOf(block)]);
      const slots = Array.from({ length: map.copies(strip) }, (_, copy) => map.slot(strip, copy));
      expect(slots).toEqual(groups[strip]);
      expect(slots.slice(0, copies)).toEqual(Array.from({ length: copies }, (_, copy) => bare.slot(strip, copy)));
      for (const [copy, slot] of slots.entries()) {
        expect(map.offset(strip, copy)).toBe(0);
        expect(map.stripOn(slot, map.baseOf(block))).toBe(strip);
        expect(map.copyOn(slot, strip)).toBe(copy);
      }
    }
  }
});

it('says on record how many strips are dealt to where slots come in groups, and nowhere else', () => {
  expect(raid10.completeOptions?.(4, {})).toEqual({ striped: 4 });
  expect(raid10.completeOptions?.(6, { copies: 3, striped: 0 })).toEqual({ copies: 3, striped: 6 });
  expect(raid10.completeOptions?.(6, { striped: 4 })).toEqual({ striped: 4 });
  for (const [numSlots, options] of [
    [5, {}],
    [4, { layout: 'offset' }],
  ] as const)
    expect(raid10.completeOptions?.(numSlots, options)).toBe(options);
});

it.each<[LevelOptions, RegExp]>([
  [{ copies: 1 }, /copies must be an integer from 2 to 255, not 1: number of copies of each block/],
  [{ copies: '2' }, /copies must be an integer from 2 to 255, not "2"/],
  [{ striped: -1 }, /striped must be an integer from 0 to 255, not -1: number of members that data is striped over/],
  [{ layout: 'far' }, /layout must be near or offset, not "far": .*far is not supported/],
  [{ layout: 'n2' }, /layout must be near or offset, not "n2"/],
  [{ near: 2 }, /level raid10 has no option near: it has copies, layout, striped/],
])('refuses the options %o', (options, message) => {
  expect(() => checkOptions(raid10, options)).toThrow(message);
});
