import type { Command } from 'commander';
import type { Latency } from '@raidkit/client';
import type { Document } from '../documents.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { renderTable } from '../table.js';
import { examples } from './options.js';

type Row = Extract<Document, { command: 'latency' }>['devices'][number];
type Operation = Latency['operations'][number];

const columns = [
  { heading: 'NAME' },
  { heading: 'OPERATION' },
  { heading: 'COUNT', align: 'right' },
  { heading: 'MEAN', align: 'right' },
  { heading: '50 %', align: 'right' },
  { heading: '90 %', align: 'right' },
  { heading: '99 %', align: 'right' },
  { heading: '99.9 %', align: 'right' },
  { heading: 'MOST', align: 'right' },
] as const;

export function addLatency(program: Command, run: Run): void {
  program
    .command('latency')
    .description('show percentiles of the latency of arrays and devices since they were opened')
    .argument('[name...]', 'arrays or devices; all of them if none is given')
    .addHelpText(
      'after',
      examples(['raidctl latency vol', 'the latency that users of vol see'], ['raidctl latency --json', 'with all buckets']),
    )
    .action((names: string[]) => run((session) => latency(session, names)));
}

async function latency(session: Session, names: readonly string[]): Promise<void> {
  const all = await (await session.client()).call('raidkit_get_latency', {});
  const unknown = names.find((name) => !all.some((device) => device.name === name));
  if (unknown !== undefined)
    throw new Failure(ExitCode.NotFound, `there is no array or device ${unknown}`, { hint: 'raidctl devices' });
  const devices = all.filter(({ name }) => names.length === 0 || names.includes(name)).map(describe);
  const rows = devices.flatMap(({ name, operations }) =>
    operations.map((operation, index) => [
      index === 0 ? name : '',
      operation.type,
      String(operation.count),
      ...[operation.mean_us, operation.p50_us, operation.p90_us, operation.p99_us, operation.p999_us, operation.most_us].map(
        show,
      ),
    ]),
  );
  session.print(
    { version: 1, command: 'latency', devices },
    rows.length === 0 ? 'there has been no I/O\n' : renderTable(session.terminal, columns, rows),
  );
}

function describe({ name, operations }: Latency): Row {
  return {
    name,
    operations: operations.map((operation) => {
      const { buckets, count, errors, total_us: total, type } = operation;
      return {
        type,
        count,
        errors,
        mean_us: count === 0 ? null : total / count,
        p50_us: quantile(operation, 0.5),
        p90_us: quantile(operation, 0.9),
        p99_us: quantile(operation, 0.99),
        p999_us: quantile(operation, 0.999),
        most_us: quantile(operation, 1),
        buckets,
      };
    }),
  };
}

/** Upper bound of the bucket that contains the quantile `part` (0 to 1). */
function quantile({ buckets, count }: Operation, part: number): number | null {
  let below = 0;
  for (const [upper, inBucket] of buckets) {
    below += inBucket;
    if (below >= part * count) return upper;
  }
  return null;
}

function show(us: number | null): string {
  if (us === null) return '-';
  if (us < 1000) return `${us.toFixed(us < 10 ? 1 : 0)} µs`;
  return us < 1_000_000 ? `${(us / 1000).toFixed(us < 10_000 ? 1 : 0)} ms` : `${(us / 1_000_000).toFixed(1)} s`;
}
