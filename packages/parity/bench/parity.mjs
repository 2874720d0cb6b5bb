// Speed of the kernels against copying the same source bytes: npm run build -w packages/parity && node bench/parity.mjs
// Kernel and copy take turns, so that a disturbance meets both; medians of the turns. Source bytes per second count.
import { BufferMemory } from '../dist/index.js';

const TURNS = 41;
const TURN_NANOSECONDS = 2e6;
const KIB = 1024;

const implementation = process.argv[2];
const memory = new BufferMemory({ bytes: 64 << 20, ...(implementation && { kernels: implementation }) });
const { kernels } = memory;
const base = memory.allocRegion(48 << 20);
memory.u8.fill(0x5a, base, base + (48 << 20));

const nanoseconds = (action, repeats) => {
  const start = process.hrtime.bigint();
  for (let i = 0; i < repeats; i++) action();
  return Number(process.hrtime.bigint() - start) / repeats;
};
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

function compare(name, sourceBytes, kernel, copy) {
  for (const action of [kernel, copy]) nanoseconds(action, Math.ceil(2e7 / sourceBytes) + 1000); // Warm up, and let the compiler finish.
  const repeats = Math.max(1, Math.round(TURN_NANOSECONDS / nanoseconds(kernel, 50)));
  const times = [[], []];
  for (let turn = 0; turn < TURNS; turn++) [kernel, copy].forEach((action, i) => times[i].push(nanoseconds(action, repeats)));
  const [ours, theirs] = times.map(median);
  const gib = (time) => (sourceBytes / time / 1.073741824).toFixed(1).padStart(7);
  console.log(`${name.padEnd(24)} ${gib(ours)} GiB/s   copy ${gib(theirs)} GiB/s   ratio ${(theirs / ours).toFixed(2)}`);
}

console.log(`${kernels.implementation}, node ${process.version}`);
for (const size of [4 * KIB, 64 * KIB, 1024 * KIB]) {
  const at = (index) => base + index * (size + 4096);
  const label = `${size / KIB} KiB`;
  for (const count of [2, 3, 5, 8, 15]) {
    const sources = Int32Array.from({ length: count }, (_, i) => at(i + 2));
    const copy = () => {
      for (let i = 0; i < count; i++) memory.copy(at(0), at(i + 2), size);
    };
    compare(`xor ${count} x ${label}`, count * size, () => kernels.xor(at(0), sources, count, size), copy);
    if (count !== 5 && count !== 15) continue;
    compare(`pq ${count} x ${label}`, count * size, () => kernels.pq(at(0), at(1), sources, count, size), copy);
  }
  const one = () => memory.copy(at(0), at(2), size);
  compare(`xorInto ${label}`, size, () => kernels.xorInto(at(0), at(2), size), one);
  compare(`gfMulInto ${label}`, size, () => kernels.gfMulInto(at(0), at(2), 29, size), one);
  compare(`equal ${label}`, size, () => kernels.equal(at(2), at(3), size), one);
  compare(`isZero ${label}`, size, () => kernels.isZero(memory.zeroAddr, Math.min(size, memory.zeroBytes)), one);
  compare(`crc32c ${label}`, size, () => kernels.crc32c(at(2), size), one);
}
