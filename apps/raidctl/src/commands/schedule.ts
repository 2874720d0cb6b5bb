import type { Command } from 'commander';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { renderTable } from '../table.js';
import { examples } from './options.js';

const columns = [
  { heading: 'ARRAY' },
  { heading: 'CHECKED' },
  { heading: 'DISAGREED', align: 'right' },
  { heading: 'DUE' },
  { heading: 'UNFINISHED' },
] as const;

export function addSchedule(program: Command, run: Run): void {
  program
    .command('schedule')
    .description('show when arrays had scheduled checks, the results, and when the next ones are due')
    .addHelpText('after', examples(['raidctl schedule', 'raidkitd --check-every turns on scheduled checks']))
    .action(() => run((session) => schedule(session)));
}

async function schedule(session: Session): Promise<void> {
  const found = await (await session.client()).call('raidkit_get_schedule');
  const { every_days: everyDays = null, limit_mb_sec: limit = null, window = null } = found;
  const arrays = found.arrays.map((array) => ({
    name: array.name,
    completed_at: array.completed_at,
    mismatch_blocks: array.mismatch_blocks,
    due_at: array.due_at,
    unfinished_percent: array.unfinished_percent,
    is_running: array.is_running,
  }));
  const rows = arrays.map((array) => [
    array.name,
    array.completed_at ?? 'not yet',
    array.completed_at === null ? '-' : String(array.mismatch_blocks),
    array.due_at,
    array.unfinished_percent === null ? '' : `${array.unfinished_percent} %${array.is_running ? ', running' : ''}`,
  ]);
  const hours = window === null ? '' : `, at ${window}`;
  const rate = limit === null ? '' : `, at most ${limit} MiB/s`;
  const text = found.enabled
    ? `every ${String(everyDays)} days${hours}${rate}\n${rows.length === 0 ? '' : renderTable(session.terminal, columns, rows)}`
    : 'no checks are scheduled: raidkitd --check-every turns them on\n';
  session.print(
    {
      version: 1,
      command: 'schedule',
      is_enabled: found.enabled,
      every_days: everyDays,
      window,
      limit_mb_sec: limit,
      arrays,
    },
    text,
  );
}
