/** Numbers that look like chance and are the same for the same seed: 0 ≤ n < 1. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** At the ends of what types hold, and of what is counted in doubles. */
const numbers = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  511n,
  512n,
  4095n,
  4096n,
  0xffffn,
  0x1_0000n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 2n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const widths = [1, 2, 4, 8];
const mostExtraBytes = 64;

/** What a mutation is made from. */
export interface Ingredients {
  /** Other inputs, parts of which are put in. */
  corpus: readonly Uint8Array[];
  /** Texts or numbers that mean something there. */
  words: readonly Uint8Array[];
  /** Whether the input may become longer or shorter. */
  keepsLength: boolean;
  mostBytes: number;
}

/** A copy of the input with one to eight changes. */
export function mutate(input: Uint8Array, random: () => number, ingredients: Ingredients): Uint8Array {
  const below = (end: number): number => Math.floor(random() * end);
  let bytes = Buffer.from(input);
  for (let change = below(8); change >= 0; change--) {
    bytes = mutateOnce(bytes, below, ingredients);
    if (bytes.length > ingredients.mostBytes) bytes = bytes.subarray(0, ingredients.mostBytes);
  }
  return new Uint8Array(bytes);
}

type Below = (end: number) => number;

function mutateOnce(
  bytes: Buffer<ArrayBuffer>,
  below: Below,
  { corpus, keepsLength, words }: Ingredients,
): Buffer<ArrayBuffer> {
  const at = below(bytes.length + 1);
  switch (below(keepsLength ? 6 : 11)) {
    case 0:
      if (at < bytes.length) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << below(8)), at);
      return bytes;
    case 1:
      if (at < bytes.length) bytes.writeUInt8(below(256), at);
      return bytes;
    case 2:
      return overwrite(bytes, at, numberBytes(below));
    case 3:
      // The new number is close to the old one.
      if (at < bytes.length) bytes.writeUInt8((bytes.readUInt8(at) + below(9) - 4) & 0xff, at);
      return bytes;
    case 4:
      return overwrite(bytes, at, words.length === 0 ? numberBytes(below) : pick(words, below));
    case 5:
      return overwrite(bytes, at, partOf(pick(corpus, below), below));
    case 6:
      return insert(bytes, at, words.length === 0 ? numberBytes(below) : pick(words, below));
    case 7:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + below(mostExtraBytes))]);
    case 8:
      return insert(bytes, at, partOf(pick(corpus, below), below));
    case 9:
      return insert(bytes, at, partOf(bytes, below));
    default:
      return below(4) === 0
        ? Buffer.from(bytes.subarray(0, at))
        : insert(bytes, at, Buffer.alloc(below(mostExtraBytes), below(256)));
  }
}

function pick<T>(list: readonly T[], below: Below): T {
  const found = list[below(list.length)];
  if (found === undefined) throw new Error('there is nothing to pick from');
  return found;
}

function partOf(bytes: Uint8Array, below: Below): Uint8Array {
  const start = below(bytes.length + 1);
  return bytes.slice(start, start + 1 + below(2 * mostExtraBytes));
}

function numberBytes(below: Below): Uint8Array {
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(pick(numbers, below));
  const used = number.subarray(0, pick(widths, below));
  return below(2) === 0 ? used : used.reverse();
}

function overwrite(bytes: Buffer<ArrayBuffer>, at: number, part: Uint8Array): Buffer<ArrayBuffer> {
  bytes.set(part.subarray(0, bytes.length - at), at);
  return bytes;
}

function insert(bytes: Buffer<ArrayBuffer>, at: number, part: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
}
