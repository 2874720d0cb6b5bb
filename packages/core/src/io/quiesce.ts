import type { Bdev, QuiesceRange } from '@raidkit/bdev';

/** Resolves when no user's I/O is in flight in these blocks. None begins until the caller unquiesces the range. */
export function quiesced(bdev: Bdev, offsetBlocks: number, numBlocks: number): Promise<QuiesceRange> {
  return new Promise((resolve) => {
    const range: QuiesceRange = bdev.quiesce(offsetBlocks, numBlocks, () => resolve(range));
  });
}
