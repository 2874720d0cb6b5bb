import type { LevelOptions, ModuleBase } from '@raidkit/core/level';
import { slotOf, stripeOf } from './copy-map.js';
import type { Layout, Shape } from './copy-map.js';

export const options = {
  copies: {
    type: 'integer',
    minimum: 2,
    maximum: 255,
    default: 2,
    description: 'how often each block is there; no more often than there are members',
  },
  layout: {
    type: 'string',
    enum: ['near', 'offset'] satisfies Layout[],
    default: 'near',
    description:
      'where the copies are: near each other, or each in the next strip (far would put them so far apart that no part of the array could be rebuilt by itself)',
  },
} as const satisfies ModuleBase['options'];

/** What checked options say of an array with so many slots. */
export function shapeOf(numSlots: number, { copies, layout }: LevelOptions): Shape {
  return { numSlots, numCopies: typeof copies === 'number' ? copies : 2, layout: layout === 'offset' ? 'offset' : 'near' };
}

/** One copy of each block must be left: every so many-th slot in a row has one. */
export function maxMissing(numSlots: number, options: LevelOptions): number {
  return numSlots - Math.ceil(numSlots / shapeOf(numSlots, options).numCopies);
}

/** Whether a copy of everything is left. */
export function canRun(numSlots: number, missing: readonly number[], options: LevelOptions): boolean {
  const shape = shapeOf(numSlots, options);
  if (missing.length < shape.numCopies) return true;
  const { strips } = stripeOf(shape);
  for (let strip = 0; strip < strips; strip++) {
    let copy = 0;
    while (copy < shape.numCopies && missing.includes(slotOf(shape, strip, copy))) copy++;
    if (copy === shape.numCopies) return false;
  }
  return true;
}
