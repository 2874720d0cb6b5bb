import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { machine, quietCores } from './machine.js';
import type { BenchOptions } from './options.js';
import { quietRounds } from './rounds.js';
import type { CaseResult, Sample } from './rounds.js';
import { median, spread } from './statistics.js';

/** A figure that is to be reached: a ratio of two contenders, paired round by round. */
export interface Goal {
  caseId: string;
  metric: 'value' | 'cpuUs' | 'p50Us';
  contender: string;
  against: string;
  bound: 'at least' | 'at most';
  limit: number;
}

/** What a benchmark leaves behind. */
export interface Report {
  name: string;
  date: string;
  machine: ReturnType<typeof machine>;
  rounds: number;
  seconds: number;
  cases: CaseResult[];
}

const resultsFolder = new URL('../results/', import.meta.url);
const metricNames = { value: 'rate', cpuUs: 'CPU per operation', p50Us: 'p50' } as const;

/** Prints the tables, and writes them and the samples into benchmarks/results. */
export function report(
  name: string,
  title: string,
  options: BenchOptions,
  cases: CaseResult[],
  goals: readonly Goal[] = [],
  notes: readonly string[] = [],
): Report {
  const made: Report = {
    name,
    date: new Date().toISOString(),
    machine: machine(),
    rounds: options.rounds,
    seconds: options.seconds,
    cases,
  };
  const text = [
    `# ${title}`,
    '',
    ...heading(made),
    ...notes.flatMap((note) => ['', note]),
    '',
    ...goalTable(cases, goals),
    ...cases.flatMap(caseTable),
  ].join('\n');
  console.log(text);
  if (options.resultsName !== null) {
    const folder = fileURLToPath(resultsFolder);
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}${options.resultsName}.json`, `${JSON.stringify(made)}\n`);
    writeFileSync(`${folder}${options.resultsName}.md`, `${text}\n`);
  }
  return made;
}

function heading({ date, machine: { cpu, cores, kernel, node }, rounds, seconds }: Report): string[] {
  return [
    `${date.slice(0, 16).replace('T', ' ')} UTC; ${cores} cores (${cpu}), Linux ${kernel}, Node ${node}. ${rounds} interleaved rounds of ${seconds} s each.`,
    `Medians, with the range in brackets. Ratios are paired: each round's figure over the same round's of the first row. A round is quiet if programs that take no part used less than ${quietCores} cores.`,
  ];
}

/** Ratios of two contenders' figures, round by round. */
export function pairedRatios(
  result: CaseResult,
  metric: Goal['metric'],
  contender: string,
  against: string,
  rounds: ReadonlySet<number>,
): number[] {
  const samplesOf = (name: string): Sample[] => result.contenders.find((one) => one.name === name)?.samples ?? [];
  const others = new Map(samplesOf(against).map((sample) => [sample.round, sample[metric]]));
  return samplesOf(contender).flatMap((sample) => {
    const other = others.get(sample.round);
    const own = sample[metric];
    return rounds.has(sample.round) && own !== null && other !== null && other !== undefined && other > 0 ? [own / other] : [];
  });
}

function allRounds({ contenders }: CaseResult): Set<number> {
  return new Set(contenders[0]?.samples.map(({ round }) => round));
}

function goalTable(cases: readonly CaseResult[], goals: readonly Goal[]): string[] {
  const rows = goals.flatMap(({ caseId, metric, contender, against, bound, limit }) => {
    const result = cases.find(({ id }) => id === caseId);
    if (result === undefined) return [];
    const quiet = pairedRatios(result, metric, contender, against, quietRounds(result));
    const all = pairedRatios(result, metric, contender, against, allRounds(result));
    if (all.length === 0) return [];
    const judged = quiet.length > 0 ? quiet : all;
    const isMet = bound === 'at least' ? median(judged) >= limit : median(judged) <= limit;
    return [
      `| ${result.title}: ${metricNames[metric]} of ${contender} / ${against} | ${bound} ${limit} | ${ratioText(quiet)} | ${ratioText(all)} | ${isMet ? 'yes' : 'no'}${quiet.length === 0 ? ', loaded' : ''} |`,
    ];
  });
  if (rows.length === 0) return [];
  return ['| goal | bound | quiet rounds | all rounds | met |', '|---|---|---|---|---|', ...rows, ''];
}

function ratioText(ratios: readonly number[]): string {
  if (ratios.length === 0) return 'none';
  const { median: middle, min, max, count } = spread(ratios);
  return `**${middle.toFixed(2)}** [${min.toFixed(2)}..${max.toFixed(2)}] n=${count}`;
}

function caseTable(result: CaseResult): string[] {
  const { title, unit, contenders, id } = result;
  const first = contenders[0]?.name ?? '';
  const quiet = quietRounds(result);
  const all = allRounds(result);
  const rows = contenders.map(({ name, samples }) => {
    const column = (metric: keyof Sample, digits: number): string =>
      rangeText(
        samples.flatMap((sample) => sample[metric] ?? []),
        digits,
      );
    const ratio = name === first ? '1' : ratioText(pairedRatios(result, 'value', name, first, all));
    const foreign = median(samples.map(({ foreignCores }) => foreignCores)).toFixed(2);
    return `| ${name} | ${column('value', 0)} | ${ratio} | ${column('cpuUs', 2)} | ${column('p50Us', 1)} | ${column('p99Us', 1)} | ${foreign} |`;
  });
  return [
    `## ${title}`,
    '',
    `\`${id}\`, ${quiet.size} of ${all.size} rounds quiet.`,
    '',
    `| | ${unit} | ratio | CPU µs/op | p50 µs | p99 µs | other load, cores |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
  ];
}

function rangeText(values: readonly number[], digits: number): string {
  if (values.length === 0) return '–';
  const { median: middle, min, max } = spread(values);
  const places = middle < 100 ? Math.max(digits, 1) : digits;
  return values.length === 1
    ? middle.toFixed(places)
    : `${middle.toFixed(places)} [${min.toFixed(places)}..${max.toFixed(places)}]`;
}
