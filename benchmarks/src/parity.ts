// npm run bench:parity: the parity kernels against a copy of the same source bytes.
import { BufferMemory } from '@raidkit/parity';
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

/** Something to do with `count` sources of `bytes` each, that lie one behind the other from `start` on, behind two results. */
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

const shapes = [4096, 65_536, MiB].flatMap((bytes) => [3, 5, 8].map((count) => ({ bytes, count })));
const cases = shapes
  .map(({ bytes, count }): Case<Kernel> => ({
    id: `${bytes / 1024}k-${count}`,
    title: `${count} sources of ${bytes / 1024} KiB`,
    unit: 'MiB/s',
    contenders,
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
  }))
  .filter(({ id }) => options.isWanted(id));

const goals = cases.map(({ id }): Goal => ({
  caseId: id,
  metric: 'value',
  contender: 'XOR',
  against: 'memcpy',
  bound: 'at least',
  limit: 0.6,
}));
await runRounds(cases, 1);
const results = await runRounds(cases, options.rounds);
report('parity', 'Parity kernels', options, results, goals, ['MiB of source bytes a second. memcpy copies each source once.']);
