import { RaidError } from '@raidkit/core/level';
import type { LevelOptions } from '@raidkit/core/level';
import { slotOf, stripeOf } from './copy-map.js';
import type { Layout, Shape } from './copy-map.js';

const layouts: readonly string[] = ['near', 'offset'] satisfies Layout[];

/** Most slots of an array. */
const mostSlots = 255;

/** Throws for options that no array may have. */
export function checkOptions(options: LevelOptions): void {
  const { copies = 2, layout = 'near', ...others } = options;
  const refuse = (message: string): never => {
    throw new RaidError('ERR_RAID_INVALID', 22, message);
  };
  const [other] = Object.keys(others);
  if (other !== undefined) refuse(`level raid10 has no option ${other}: it has copies and layout`);
  if (!Number.isInteger(copies) || Number(copies) < 2 || Number(copies) > mostSlots)
    refuse(`copies must be 2 to the number of members, not ${JSON.stringify(copies)}`);
  if (layout === 'far')
    refuse('layout must be near or offset: far puts copies so far apart that no part of the array could be rebuilt by itself');
  if (typeof layout !== 'string' || !layouts.includes(layout))
    refuse(`layout must be near or offset, not ${JSON.stringify(layout)}`);
}

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
