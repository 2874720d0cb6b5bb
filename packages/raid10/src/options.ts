import type { LevelOptions, ModuleBase } from '@raidkit/core/level';
import { copiesOf, hasGroups, shapeOf, slotOf, stripeOf } from './copy-map.js';
import type { Layout } from './copy-map.js';

export const options = {
  copies: {
    type: 'integer',
    minimum: 2,
    maximum: 255,
    default: 2,
    description: 'number of copies of each block; at most the number of members',
  },
  layout: {
    type: 'string',
    enum: ['near', 'offset'] satisfies Layout[],
    default: 'near',
    description:
      'layout of the copies: near (in the same stripe) or offset (in the next strip); far is not supported, because no part of the array could be rebuilt independently',
  },
  striped: {
    type: 'integer',
    minimum: 0,
    maximum: 255,
    default: 0,
    description:
      'number of members that data is striped over; the others hold further copies of these. 0: all members at creation, which is then recorded',
  },
} as const satisfies ModuleBase['options'];

/** The striped slots must hold all copies, and further slots are possible only if slots form groups. */
export function acceptsSlots(numSlots: number, options: LevelOptions): boolean {
  const shape = shapeOf(numSlots, options);
  const { numCopies, numStriped } = shape;
  if (numStriped < numCopies) return false;
  return numSlots === numStriped || (numSlots > numStriped && hasGroups(shape));
}

/** If slots can be added later, records at creation how many slots strips are striped over. */
export function completeOptions(numSlots: number, options: LevelOptions): LevelOptions {
  const shape = shapeOf(numSlots, options);
  return hasGroups(shape) ? { ...options, striped: shape.numStriped } : options;
}

/** Most members that may be missing: with copies on consecutive slots, one slot in every `numCopies` must be left. */
export function maxMissing(numSlots: number, options: LevelOptions): number {
  const { numCopies, numStriped } = shapeOf(numSlots, options);
  return numSlots - Math.ceil(numStriped / numCopies);
}

/** Whether every strip has a copy left. */
export function canRun(numSlots: number, missing: readonly number[], options: LevelOptions): boolean {
  const shape = shapeOf(numSlots, options);
  if (missing.length < shape.numCopies) return true;
  const { strips } = stripeOf(shape);
  for (let strip = 0; strip < strips; strip++) {
    const copies = copiesOf(shape, strip);
    let copy = 0;
    while (copy < copies && missing.includes(slotOf(shape, strip, copy))) copy++;
    if (copy === copies) return false;
  }
  return true;
}
