import type { Command } from 'commander';
import type { BdevStats, IoStat } from '@raidkit/client';
import type { Document } from '../documents.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { formatBytes, formatCount } from '../format.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { takeSnapshot } from '../snapshot.js';
import type { Snapshot } from '../snapshot.js';
import { renderTable } from '../table.js';
import { examples, parseWhole } from './options.js';

type Row = Extract<Document, { command: 'iostat' }>['devices'][number];

const columns = [
  { heading: 'NAME' },
  { heading: 'READS', align: 'right' },
  { heading: 'WRITES', align: 'right' },
  { heading: 'READ', align: 'right' },
  { heading: 'WRITTEN', align: 'right' },
  { heading: 'READ MS', align: 'right' },
  { heading: 'WRITE MS', align: 'right' },
] as const;

export function addIostat(program: Command, run: Run): void {
  program
    .command('iostat')
    .description('show the I/O of arrays and their members: totals, or rates')
    .argument('[name...]', 'arrays or devices; all of them if none is given')
    .option('-i, --interval <seconds>', 'show rates over so many seconds, repeatedly', parseWhole(1, 3600))
    .option('--count <reports>', 'with --interval: exit after so many reports', parseWhole(1, 1_000_000))
    .addHelpText(
      'after',
      examples(
        ['raidctl iostat', 'totals since the devices were opened'],
        ['raidctl iostat vol -i 1', 'rates each second, until Ctrl-C'],
      ),
    )
    .action((names: string[], options: { interval?: number; count?: number }) =>
      run((session) => iostat(session, names, options)),
    );
}

async function iostat(
  session: Session,
  names: readonly string[],
  { interval, count = Infinity }: { interval?: number; count?: number },
): Promise<void> {
  const client = await session.client();
  const snapshot = await takeSnapshot(client);
  const shown = choose(snapshot, names);
  let before = await client.call('bdev_get_iostat', {});
  if (interval === undefined) {
    print(session, rowsOf(shown, before, null), null);
    return;
  }
  for (let reports = 0; reports < count; reports++) {
    await new Promise((resolve) => setTimeout(resolve, interval * 1000));
    const now = await client.call('bdev_get_iostat', {});
    const seconds = (now.ticks - before.ticks) / now.tick_rate;
    if (reports > 0 && !session.isJson) session.terminal.write('\n');
    print(session, rowsOf(shown, now, { before, seconds }), seconds);
    before = now;
  }
}

interface Shown {
  name: string;
  array: string | null;
}

/** Arrays, each followed by its members, then all other devices. */
function choose({ arrays, bdevs }: Snapshot, names: readonly string[]): Shown[] {
  const shown: Shown[] = [];
  for (const array of arrays) {
    shown.push({ name: array.name, array: null });
    for (const { name } of array.ext.members) if (name !== null) shown.push({ name, array: array.name });
  }
  for (const { name } of bdevs) if (!shown.some((other) => other.name === name)) shown.push({ name, array: null });
  for (const name of names) {
    if (!shown.some((other) => other.name === name))
      throw new Failure(ExitCode.NotFound, `there is no array or device ${name}`, { hint: 'raidctl devices' });
  }
  return names.length === 0
    ? shown
    : shown.filter(({ array, name }) => names.includes(name) || (array !== null && names.includes(array)));
}

function rowsOf(
  shown: readonly Shown[],
  { bdevs, tick_rate: tickRate }: IoStat,
  since: { before: IoStat; seconds: number } | null,
): Row[] {
  return shown.flatMap(({ array, name }) => {
    const now = bdevs.find((stats) => stats.name === name);
    if (now === undefined) return [];
    const before = since?.before.bdevs.find((stats) => stats.name === name);
    const grown = (of: (stats: BdevStats) => number): number => Math.max(0, of(now) - (before === undefined ? 0 : of(before)));
    const rate = (of: (stats: BdevStats) => number): number => (since === null ? grown(of) : grown(of) / since.seconds);
    const latency = (ticks: (stats: BdevStats) => number, ops: (stats: BdevStats) => number): number | null =>
      grown(ops) === 0 ? null : ((grown(ticks) / grown(ops)) * 1000) / tickRate;
    return {
      name,
      array,
      read_ops: rate((stats) => stats.num_read_ops),
      write_ops: rate((stats) => stats.num_write_ops),
      read_bytes: rate((stats) => stats.bytes_read),
      write_bytes: rate((stats) => stats.bytes_written),
      read_latency_ms: latency(
        (stats) => stats.read_latency_ticks,
        (stats) => stats.num_read_ops,
      ),
      write_latency_ms: latency(
        (stats) => stats.write_latency_ticks,
        (stats) => stats.num_write_ops,
      ),
    };
  });
}

function print(session: Session, devices: Row[], seconds: number | null): void {
  const perSecond = seconds === null ? '' : '/s';
  const rows = devices.map((row) => [
    row.array === null ? row.name : `  ${row.name}`,
    `${formatCount(row.read_ops)}${perSecond}`,
    `${formatCount(row.write_ops)}${perSecond}`,
    `${formatBytes(row.read_bytes)}${perSecond}`,
    `${formatBytes(row.write_bytes)}${perSecond}`,
    row.read_latency_ms === null ? '-' : row.read_latency_ms.toFixed(2),
    row.write_latency_ms === null ? '-' : row.write_latency_ms.toFixed(2),
  ]);
  session.print(
    { version: 1, command: 'iostat', seconds, devices },
    rows.length === 0 ? 'no device is open\n' : renderTable(session.terminal, columns, rows),
  );
}
