// npm run bench:javascript: what of a request is JavaScript. From the NBD socket to the ring and back, over a kernel that ends every
// operation at once.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readOptions } from './lib/options.js';
import { report } from './lib/report.js';
import type { Report } from './lib/report.js';
import { runRounds } from './lib/rounds.js';
import type { Case, CaseResult, Contender } from './lib/rounds.js';
import { median } from './lib/statistics.js';

const options = readOptions('javascript', { rounds: 12, seconds: 1 });
const worker = fileURLToPath(new URL('javascript-worker.js', import.meta.url));
const recordedFile = new URL('../results/javascript.json', import.meta.url);
const run = promisify(execFile);

interface Subject extends Contender {
  readonly subject: string;
}
const subjects: readonly Subject[] = [
  { name: 'one file', subject: 'file', pids: [] },
  { name: 'raid0', subject: 'raid0', pids: [] },
  { name: 'raid1 of 2', subject: 'raid1', pids: [] },
  { name: 'raid5f of 3', subject: 'raid5f', pids: [] },
  { name: 'raid6 of 4', subject: 'raid6', pids: [] },
];
const cases: Case<Subject>[] = ['read', 'write']
  .map((direction) => ({
    id: `${direction}-4k`,
    title: `4k random ${direction}`,
    unit: 'ns of CPU per request (less is better)',
    contenders: subjects,
    measure: async ({ subject }: Subject) => ({
      value: Number((await run(process.execPath, [worker, subject, direction])).stdout),
    }),
  }))
  .filter(({ id }) => options.isWanted(id));

const recorded = existsSync(recordedFile) ? (JSON.parse(readFileSync(recordedFile, 'utf8')) as Report) : null;
const results = await runRounds(cases, options.rounds);
report(
  'javascript',
  'What of a request is JavaScript',
  options,
  results,
  [],
  [
    'One connection, 32 requests in flight, a process for each measurement. Of each the median of 8 times 100,000 requests, after 400,000. No device and no socket is touched.',
    [
      '| | | now, as a multiple of one file | last recorded |',
      '|---|---|---|---|',
      ...results.flatMap((result) =>
        rowsOf(
          result,
          recorded?.cases.find(({ id }) => id === result.id),
        ),
      ),
    ].join('\n'),
  ],
);

/** Multiples, which hold on another machine as well. */
function rowsOf(result: CaseResult, before: CaseResult | undefined): string[] {
  const multiple = ({ contenders }: CaseResult, name: string): string => {
    const middle = (wanted: string): number =>
      median(contenders.find((one) => one.name === wanted)?.samples.map(({ value }) => value) ?? []);
    return (middle(name) / middle(subjects[0]?.name ?? '')).toFixed(2);
  };
  return subjects
    .slice(1)
    .map(
      ({ name }) =>
        `| ${result.title} | ${name} | ${multiple(result, name)} | ${before?.contenders.some((one) => one.name === name) === true ? multiple(before, name) : 'nothing'} |`,
    );
}
