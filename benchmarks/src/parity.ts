// npm run bench:parity: the parity kernels, and the sums of blocks, against a copy of the same source bytes.
import { BLOCK_SUM_KEY_BYTES, BufferMemory, makeBlockSumKey } from '@raidkit/parity';
import type { ParityKernels } from '@raidkit/parity';
import { MiB } from './lib/files.js';
import { readOptions } from './lib/options.js';
import { report } from './lib/report.js';
import type { Goal } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, Contender } from './lib/rounds.js';

const options = readOptions('parity', { rounds: 12, seconds: 0.05 });
const memory = new BufferMemory({ bytes: 64 * MiB, kernels: 'wasm-simd' });
const javascript = new BufferMemory({ bytes: 64 * MiB, kernels: 'javascript' });
const addr = memory.allocRegion(32 * MiB);
const javascriptAddr = javascript.allocRegion(32 * MiB);
for (const { u8 } of [memory, javascript]) for (let i = 0; i < u8.length; i += 1009) u8[i] = i;

/** An operation on `count` sources of `bytes` each, which follow one another from `start` on, behind two results. */
interface Kernel extends Contender {
  run: (sources: Int32Array, bytes: number) => void;
  /** Where its memory's sources begin. */
  start: number;
}

function kernel(
  name: string,
  { kernels }: BufferMemory,
  start: number,
  run: (kernels: ParityKernels, sources: Int32Array, bytes: number) => void,
): Kernel {
  return { name, pids: [], start, run: (sources, bytes) => run(kernels, sources, bytes) };
}

const contenders: Kernel[] = [
  {
    name: 'memcpy',
    pids: [],
    start: addr,
    run(sources, bytes) {
      for (const source of sources) memory.copy(addr, source, bytes);
    },
  },
  kernel('XOR', memory, addr, (kernels, sources, bytes) => kernels.xor(addr, sources, sources.length, bytes)),
  kernel('P+Q', memory, addr, (kernels, sources, bytes) => kernels.pq(addr, addr + bytes, sources, sources.length, bytes)),
  kernel('XOR in JavaScript', javascript, javascriptAddr, (kernels, sources, bytes) =>
    kernels.xor(javascriptAddr, sources, sources.length, bytes),
  ),
];

const key = memory.allocRegion(BLOCK_SUM_KEY_BYTES);
makeBlockSumKey(new Uint8Array(32), memory.u8.subarray(key, key + BLOCK_SUM_KEY_BYTES));
// Nothing is written behind here but the right sums, in front of the sources, those of each size at a place of their own.
const blocks = memory.allocRegion(4 * MiB);
const sumSizes = [4096, 65_536, MiB];
const sumsOf = (bytes: number): number => blocks + bytes / 512;
for (const bytes of sumSizes) memory.kernels.blockSums(sumsOf(bytes), blocks + 2 * bytes, bytes / 4096, key, 0, 0);
const checks: Kernel[] = [
  kernel('memcpy', memory, blocks, (_kernels, sources, bytes) => {
    for (const source of sources) memory.copy(addr, source, bytes);
  }),
  kernel('block sums', memory, blocks, (kernels, sources, bytes) => {
    for (const source of sources) kernels.blockSums(addr, source, bytes / 4096, key, 0, 0);
  }),
  kernel('verification', memory, blocks, (kernels, sources, bytes) => {
    for (const source of sources) {
      const isRight = kernels.wrongBlock(sumsOf(bytes), source, bytes / 4096, key, 0, 0) === bytes / 4096;
      if (!isRight) throw new Error('a block has another sum than before');
    }
  }),
  kernel('CRC-32C', memory, blocks, (kernels, sources, bytes) => {
    for (const source of sources) kernels.crc32c(source, bytes);
  }),
];

const shapes = [4096, 65_536, MiB].flatMap((bytes) => [3, 5, 8].map((count) => ({ bytes, count })));
function caseOf(id: string, title: string, bytes: number, count: number, those: Kernel[]): Case<Kernel> {
  return {
    id,
    title,
    unit: 'MiB/s',
    contenders: those,
    measure({ run, start }) {
      const sources = Int32Array.from({ length: count }, (_, i) => start + (i + 2) * bytes);
      const startedAt = performance.now();
      let passes = 0;
      do {
        for (let i = 0; i < 16; i++) run(sources, bytes);
        passes += 16;
      } while (performance.now() - startedAt < options.seconds * 1000);
      const seconds = (performance.now() - startedAt) / 1000;
      return Promise.resolve({ value: (passes * bytes * count) / MiB / seconds });
    },
  };
}

const parityCases = shapes.map(({ bytes, count }) =>
  caseOf(`${bytes / 1024}k-${count}`, `${count} sources of ${bytes / 1024} KiB`, bytes, count, contenders),
);
const sumCases = sumSizes.map((bytes) =>
  caseOf(`sums-${bytes / 1024}k`, `Sums of blocks, ${bytes / 1024} KiB at a time`, bytes, 1, checks),
);
const cases = [...parityCases, ...sumCases].filter(({ id }) => options.isWanted(id));

function goal(caseId: string, contender: string, limit: number): Goal {
  return { caseId, metric: 'value', contender, against: 'memcpy', bound: 'at least', limit };
}

const goals = [
  ...parityCases.map(({ id }) => goal(id, 'XOR', 0.6)),
  goal('sums-4k', 'block sums', 0.35),
  goal('sums-4k', 'verification', 0.35),
].filter(({ caseId }) => options.isWanted(caseId));
await runRounds(cases, 1);
const results = await runRounds(cases, options.rounds);
report('parity', 'Parity kernels', options, results, goals, ['MiB of source bytes a second. memcpy copies each source once.']);
