// Makes tables of what job.sh has measured: `node benchmarks/md/table.mjs samples.txt`. Markdown, on standard output.
import fs from 'node:fs';

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: table.mjs SAMPLES');
  process.exit(2);
}

/** Level → workload → contender → round → sample. */
const levels = new Map();
const machines = new Set();
for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
  const [kind, ...rest] = line.trim().split(/\s+/);
  if (kind === 'machine') machines.add(rest.join(' '));
  if (kind !== 'sample') continue;
  const [contender, level, round, workload, ...numbers] = rest;
  const [iops, mibs, p50, p99] = numbers.map(Number);
  entry(entry(entry(levels, level), workload), contender).set(round, { iops, mibs, p50, p99 });
}

// One table for the levels that have the same contenders.
const tables = new Map();
for (const [level, workloads] of levels) {
  const contenders = [...new Set([...workloads.values()].flatMap((of) => [...of.keys()]))].sort();
  const compared = contenders.filter((name) => name !== 'raidkit').map((name) => pairOf(name, contenders));
  const rows = entry(tables, contenders.join(), () => [
    row(['', '', ...contenders.map((name) => `${name}: IOPS; p50, p99 µs`), ...compared.map((pair) => pair.join(' / '))]),
    row(['---', '---', ...contenders.map(() => '---'), ...compared.map(() => '---')]),
  ]);
  for (const [workload, of] of workloads) {
    const figures = contenders.map((name) => summary([...(of.get(name)?.values() ?? [])]));
    rows.push(row([level, named(workload), ...figures, ...compared.map(([one, other]) => ratios(of, one, other))]));
  }
}
const out = [...machines].map((machine) => `Kernel ${machine}.`);
for (const rows of tables.values()) out.push('', ...rows);
console.log(out.join('\n'));

function entry(map, key, make = () => new Map()) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

function summary(samples) {
  if (samples.length === 0) return '';
  const of = (field) => Math.round(median(samples.map((sample) => sample[field]))).toLocaleString('en-US');
  return `${of('iops')}; ${of('p50')}, ${of('p99')}`;
}

/** Whose rate is divided by whose: `md-journal` is put beside `md`, others are beside raidkit. */
function pairOf(name, contenders) {
  const [without] = name.split('-');
  return without !== name && contenders.includes(without) ? [name, without] : ['raidkit', name];
}

/** Of rates in the same round: median, range, and how many rounds had both. */
function ratios(of, one, peer) {
  const pairs = [];
  for (const [round, { iops }] of of.get(one) ?? []) {
    const other = of.get(peer)?.get(round);
    if (other !== undefined && other.iops > 0) pairs.push(iops / other.iops);
  }
  if (pairs.length === 0) return '';
  return `**${median(pairs).toFixed(2)}** [${Math.min(...pairs).toFixed(2)}..${Math.max(...pairs).toFixed(2)}] n=${pairs.length}`;
}

function named(workload) {
  const [kind, size] = workload.split(':');
  const isRandom = kind.startsWith('rand');
  return `${size} ${isRandom ? 'random' : 'sequential'} ${isRandom ? kind.slice(4) : kind}`;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function row(cells) {
  return `| ${cells.join(' | ')} |`;
}
