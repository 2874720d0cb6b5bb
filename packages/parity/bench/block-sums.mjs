// What block sums miss: npm run build -w packages/parity && node packages/parity/bench/block-sums.mjs [MILLIONS [SEED]]
// So many million damaged blocks (10), spread over the kinds below; each is damage of one block under a key of its own turn.
import { BLOCK_SUM_KEY_BYTES, BufferMemory, makeBlockSumKey } from '../dist/index.js';

const BLOCK = 4096;
const TURN = 20_000;

const millions = Number(process.argv[2] ?? 10);
let state = Number(process.argv[3] ?? 1) | 0;
const random = () => {
  state = (state + 0x9e3779b9) | 0;
  let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
};
const below = (limit) => random() % limit;

const memory = new BufferMemory({ bytes: 1 << 20 });
const { kernels, u8, view } = memory;
const [sums, key, block, other] = [BLOCK, BLOCK_SUM_KEY_BYTES, BLOCK, BLOCK].map((bytes) => memory.allocRegion(bytes));
const fillRandom = (start, end) => {
  for (let at = start; at < end; at += 4) view.setUint32(at, random(), true);
};
const flip = (bit) => (u8[block + (bit >> 3)] ^= 1 << (bit & 7));

const contents = {
  noise: () => fillRandom(block, block + BLOCK),
  zeros: () => u8.fill(0, block, block + BLOCK),
  ones: () => u8.fill(255, block, block + BLOCK),
  text: () => {
    for (let at = block; at < block + BLOCK; at++) u8[at] = 32 + below(64);
  },
  'small numbers': () => {
    for (let at = block; at < block + BLOCK; at += 8) view.setBigUint64(at, BigInt(below(1000)), true);
  },
};
const kinds = {
  'two bits': () => (flip(below(BLOCK * 8)), flip(below(BLOCK * 8))),
  'three bits': () => (flip(below(BLOCK * 8)), flip(below(BLOCK * 8)), flip(below(BLOCK * 8))),
  'the same bit of two words': () => {
    const bit = below(32);
    flip(below(BLOCK / 4) * 32 + bit);
    flip(below(BLOCK / 4) * 32 + bit);
  },
  'a burst of up to 64 bits': () => {
    const length = 2 + below(63);
    const start = below(BLOCK * 8 - length + 1);
    flip(start);
    flip(start + length - 1);
    for (let bit = start + 1; bit < start + length - 1; bit++) if (below(2) === 1) flip(bit);
  },
  'two words': () => fillRandomWords(2),
  'two words swapped': () => {
    const [a, b] = [block + below(BLOCK / 4) * 4, block + below(BLOCK / 4) * 4];
    const first = view.getUint32(a, true);
    view.setUint32(a, view.getUint32(b, true), true);
    view.setUint32(b, first, true);
  },
  'two words, one more and one less': () => {
    const [a, b] = [block + below(BLOCK / 4) * 4, block + below(BLOCK / 4) * 4];
    const by = 1 << below(31);
    view.setUint32(a, view.getUint32(a, true) + by, true);
    view.setUint32(b, view.getUint32(b, true) - by, true);
  },
  'a sector of zeros': () => {
    const at = block + below(8) * 512;
    u8.fill(0, at, at + 512);
  },
  'a sector of another block': () => {
    const at = below(8) * 512;
    u8.copyWithin(block + at, other + at, other + at + 512);
  },
  'another block': () => u8.copyWithin(block, other, other + BLOCK),
  'bytes shifted': () => u8.copyWithin(block + 1, block, block + BLOCK - 1),
};
function fillRandomWords(count) {
  for (let i = 0; i < count; i++) view.setUint32(block + below(BLOCK / 4) * 4, random(), true);
}

const right = new Uint8Array(BLOCK);
const tally = Object.fromEntries(Object.keys(kinds).map((name) => [name, { tried: 0, missed: 0, low: 0, high: 0 }]));
const fills = Object.values(contents);
let turn = 0;
for (let done = 0; done < millions * 1e6; turn++) {
  const salt = Uint8Array.from({ length: 32 }, () => below(256));
  makeBlockSumKey(salt, u8.subarray(key, key + BLOCK_SUM_KEY_BYTES));
  fills[turn % fills.length]();
  fillRandom(other, other + BLOCK);
  right.set(u8.subarray(block, block + BLOCK));
  const number = random();
  kernels.blockSums(sums, block, 1, key, number, 0);
  for (const [name, damage] of Object.entries(kinds)) {
    const count = tally[name];
    for (let i = 0; i < TURN / Object.keys(kinds).length; i++) {
      damage();
      done++;
      if (Buffer.compare(u8.subarray(block, block + BLOCK), right) === 0) continue;
      count.tried++;
      kernels.blockSums(sums + 8, block, 1, key, number, 0);
      const isLowSame = view.getUint32(sums, true) === view.getUint32(sums + 8, true);
      const isHighSame = view.getUint32(sums + 4, true) === view.getUint32(sums + 12, true);
      if (isLowSame) count.low++;
      if (isHighSame) count.high++;
      if (isLowSame && isHighSame) count.missed++;
      u8.set(right, block);
    }
  }
}
console.log(`${turn} keys and blocks; missed, and how often the lower and the upper half alone were the same`);
for (const [name, { tried, missed, low, high }] of Object.entries(tally)) {
  console.log(`${name.padEnd(34)} ${String(tried).padStart(9)} tried ${missed} missed ${low} ${high}`);
}
process.exitCode = Object.values(tally).some(({ missed }) => missed > 0) ? 1 : 0;
