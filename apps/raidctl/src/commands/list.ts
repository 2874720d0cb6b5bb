import type { Command } from 'commander';
import { exitCodeOf, worst } from '../exit-code.js';
import type { ExitCode } from '../exit-code.js';
import { formatBytes } from '../format.js';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { chooseArrays, describeArray, takeSnapshot } from '../snapshot.js';
import { showHealth } from '../status-view.js';
import { renderTable } from '../table.js';
import { examples } from './options.js';

const columns = [
  { heading: 'NAME' },
  { heading: 'STATE' },
  { heading: 'LEVEL' },
  { heading: 'SIZE', align: 'right' },
  { heading: 'MEMBERS', align: 'right' },
  { heading: 'WORK' },
] as const;

export function addList(program: Command, run: Run): void {
  program
    .command('list')
    .description('show arrays, one line each')
    .argument('[array...]', 'names or uuids; all arrays if none is given')
    .addHelpText(
      'after',
      examples(['raidctl list', 'all arrays'], ['raidctl list vol; echo $?', '0 if it is optimal, 5 if it is degraded']),
    )
    .action((names: string[]) => run((session) => list(session, names)));
}

async function list(session: Session, names: readonly string[]): Promise<ExitCode> {
  const snapshot = await takeSnapshot(await session.client());
  const arrays = chooseArrays(snapshot, names).map((array) => describeArray(snapshot, array));
  const rows = arrays.map((array) => [
    array.name,
    showHealth(session.terminal, array.health),
    array.level,
    array.size_bytes === 0 ? '-' : formatBytes(array.size_bytes),
    `${array.members}/${array.slots.length}`,
    array.process === null
      ? ''
      : `${array.process.type} ${array.process.percent} %${array.process.is_paused ? ', paused' : ''}`,
  ]);
  session.print(
    {
      version: 1,
      command: 'list',
      arrays: arrays.map((array) => ({
        name: array.name,
        health: array.health,
        level: array.level,
        size_bytes: array.size_bytes,
        members: array.members,
        slots: array.slots.length,
        process: array.process?.type ?? null,
        percent: array.process?.percent ?? null,
      })),
    },
    rows.length === 0 ? 'there are no arrays\n' : renderTable(session.terminal, columns, rows),
  );
  return worst(arrays.map(({ health }) => exitCodeOf(health)));
}
