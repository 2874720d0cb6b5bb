/**
 * What a volume may hold, block by block, as numbers: 0 for zeros, else the tag of the write that put it there. While
 * requests are in flight a block may hold any of several; `settle` pins down what it came to.
 */
export class BlockModel {
  readonly #allowed: Set<number>[];

  constructor(numBlocks: number) {
    this.#allowed = Array.from({ length: numBlocks }, () => new Set([0]));
  }

  get numBlocks(): number {
    return this.#allowed.length;
  }

  /** A write was submitted: each block may hold the old or the new from now on. */
  submitted(offset: number, count: number, tag: number): void {
    for (let block = offset; block < offset + count; block++) this.#allowed[block]!.add(tag);
  }

  /**
   * A batch of concurrent requests has been acknowledged: blocks that they covered no longer hold what they held before it,
   * except where all of them were unmaps that may leave things as they are.
   */
  batchDone(batch: readonly { offset: number; count: number; tag: number; mayKeep: boolean }[]): void {
    const tags = new Map<number, Set<number>>();
    const overwritten = new Set<number>();
    for (const { offset, count, tag, mayKeep } of batch) {
      for (let block = offset; block < offset + count; block++) {
        tags.set(block, (tags.get(block) ?? new Set<number>()).add(tag));
        if (!mayKeep) overwritten.add(block);
      }
    }
    for (const [block, found] of tags) if (overwritten.has(block)) this.#allowed[block] = found;
  }

  /** Throws unless the block may hold `tag`. */
  check(block: number, tag: number, what: string): void {
    const allowed = this.#allowed[block]!;
    if (!allowed.has(tag)) throw new Error(`${what}: block ${block} holds ${tag}, allowed are ${[...allowed].join(', ')}`);
  }

  /** It was read, with nothing in flight: it must stay that. */
  settle(block: number, tag: number, what: string): void {
    this.check(block, tag, what);
    this.#allowed[block] = new Set([tag]);
  }
}

/** A block that says which write made it, and which block it is. */
export function taggedBlocks(offset: number, count: number, tag: number, blockSize: number): Uint8Array {
  const words = new Uint32Array((count * blockSize) / 4);
  const perBlock = blockSize / 4;
  for (let i = 0; i < count; i++) {
    for (let word = 0; word < perBlock; word++) {
      words[i * perBlock + word] = (Math.imul(tag, 0x9e3779b1) ^ Math.imul(offset + i, 0x85ebca6b) ^ word) >>> 0;
    }
    words[i * perBlock] = tag;
    words[i * perBlock + 1] = offset + i;
  }
  return new Uint8Array(words.buffer);
}

/** The tag of each block; throws if one is not wholly what its tag says. */
export function tagsOf(data: Uint8Array, offset: number, blockSize: number, what: string): number[] {
  const tags: number[] = [];
  for (let i = 0; i * blockSize < data.length; i++) {
    const block = data.slice(i * blockSize, (i + 1) * blockSize);
    const tag = new Uint32Array(block.buffer)[0]!;
    const expected = tag === 0 ? new Uint8Array(blockSize) : taggedBlocks(offset + i, 1, tag, blockSize);
    if (!Buffer.from(block).equals(expected)) throw new Error(`${what}: block ${offset + i} is no block that was ever written`);
    tags.push(tag);
  }
  return tags;
}
