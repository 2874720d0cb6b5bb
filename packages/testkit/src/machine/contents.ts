import type { BlockClient } from '@raidkit/bdev';
import type { Random } from '../random.js';

/** Number of blocks that are written together. */
const cellBlocks = 8;

/**
 * Model of a volume: the values each cell may hold. A cell is filled with one byte, and may hold any value written since the
 * last flush, or the one before.
 */
export class Contents {
  readonly #cells: number;
  readonly #allowed: number[][];
  #next = 1;

  /** A new volume may read as anything unless its level promises zeros, so it is written before it is read. */
  constructor(numBlocks: number) {
    this.#cells = Math.floor(numBlocks / cellBlocks);
    this.#allowed = Array.from({ length: this.#cells }, () => []);
  }

  /** Writes one cell. `isAwaited`: nothing else is in flight, so that the cell then holds this value. */
  async write(client: BlockClient, random: Random, isAwaited: boolean): Promise<void> {
    const cell = random.int(0, this.#cells - 1);
    const value = this.#next;
    this.#next = (this.#next % 250) + 1;
    const { blockSize } = client.descriptor.bdev;
    // A cell that was never written has no known contents.
    if (this.#allowed[cell]?.length === 0 && !isAwaited) return;
    this.#allowed[cell]?.push(value);
    await client.write(cell * cellBlocks, new Uint8Array(cellBlocks * blockSize).fill(value));
  }

  /** After a flush only the latest value of each cell counts. */
  flushed(): void {
    for (const [cell, values] of this.#allowed.entries()) this.#allowed[cell] = values.slice(-1);
  }

  /** Throws if a cell holds a forbidden value. A cell must keep the value that was read. */
  async check(client: BlockClient, name: string): Promise<void> {
    const { blockSize } = client.descriptor.bdev;
    for (const [cell, values] of this.#allowed.entries()) {
      if (values.length === 0) continue;
      const bytes = await client.read(cell * cellBlocks, cellBlocks);
      for (let at = 0; at < bytes.length; at += blockSize) {
        const [value] = bytes.subarray(at, at + 1);
        const isWhole = bytes.subarray(at, at + blockSize).every((byte) => byte === value);
        if (value === undefined || !isWhole || !values.includes(value))
          throw new Error(
            `${name}: block ${cell * cellBlocks + at / blockSize} holds ${String(value)}, allowed are ${values.join(', ')}`,
          );
      }
      if (values.length === 1) continue;
      // A crash may have left a mixture, so the cell is written again.
      const value = values[values.length - 1] ?? 0;
      await client.write(cell * cellBlocks, new Uint8Array(cellBlocks * blockSize).fill(value));
      await client.flush();
      this.#allowed[cell] = [value];
    }
  }
}
