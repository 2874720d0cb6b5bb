import { Status } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { RaidError } from '../errors.js';

/** Marks parity as consistent everywhere, on the word of an operator. Throws for levels without parity. */
export function trustRedundancy(array: RaidArray): void {
  const { bdev, consistency, journal, module, name, state } = array;
  if (module.redundancy !== 'parity') {
    throw new RaidError('ERR_RAID_INVALID', Status.NotSupported, `array ${name}: level ${module.level} has no parity to trust`);
  }
  if (state !== 'online' || bdev === null)
    throw new RaidError(
      'ERR_RAID_INVALID',
      Status.Invalid,
      `array ${name} is ${state}: the inconsistent ranges are known once it is online`,
    );
  array.log.warn(array.logFields(), 'parity is trusted on request');
  // Writes in flight may be without a journal entry, because redundancy is inconsistent there.
  const range = bdev.quiesce(0, bdev.numBlocks, () => {
    consistency.assumeInSync();
    if (journal?.mustSaveDoubt === true) journal.doubt.save().catch(() => undefined);
    bdev.unquiesce(range);
  });
}
