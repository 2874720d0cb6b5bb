import type { Bdev } from '@raidkit/bdev';
import type { RaidContext } from '../array/context.js';

/**
 * Runs `work`, which claims these devices (by name), examines them and may reject them. An examination that comes meanwhile
 * skips claimed devices. It is repeated if they are released, because an array may be waiting for one of them.
 */
export async function whileTaking<T>(ctx: RaidContext, names: readonly (string | null)[], work: () => Promise<T>): Promise<T> {
  for (const bdev of thereOf(ctx, names)) ctx.forgetPassedOver(bdev);
  try {
    return await work();
  } catch (error) {
    for (const bdev of thereOf(ctx, names)) if (ctx.forgetPassedOver(bdev)) ctx.examineLater(bdev, 0);
    throw error;
  }
}

function thereOf({ registry }: RaidContext, names: readonly (string | null)[]): Bdev[] {
  return names.flatMap((name) => (name === null ? [] : (registry.get(name) ?? [])));
}
