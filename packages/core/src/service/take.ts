import type { Bdev } from '@raidkit/bdev';
import type { RaidContext } from '../array/context.js';

/**
 * Does what claims these devices (by name) to look at them, and may refuse them. An examination that comes meanwhile finds them claimed,
 * and leaves them alone: it is made up for if they are given back, or an array would wait for a member that is there.
 */
export async function whileTaking<T>(ctx: RaidContext, names: readonly (string | null)[], work: () => Promise<T>): Promise<T> {
  for (const bdev of thereOf(ctx, names)) ctx.passedOver.delete(bdev);
  try {
    return await work();
  } catch (error) {
    for (const bdev of thereOf(ctx, names)) if (ctx.passedOver.delete(bdev)) ctx.examineLater(bdev, 0);
    throw error;
  }
}

function thereOf({ registry }: RaidContext, names: readonly (string | null)[]): Bdev[] {
  return names.flatMap((name) => (name === null ? [] : (registry.get(name) ?? [])));
}
