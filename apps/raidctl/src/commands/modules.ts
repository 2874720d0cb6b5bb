import type { Command } from 'commander';
import type { Run } from '../action.js';
import type { Session } from '../session.js';
import { renderTable } from '../table.js';

const columns = [
  { heading: 'LEVEL' },
  { heading: 'ALIASES' },
  { heading: 'MEMBERS', align: 'right' },
  { heading: 'STRIPS' },
  { heading: 'REDUNDANT' },
  { heading: 'UNMAP' },
  { heading: 'GROWS' },
] as const;

export function addModules(program: Command, run: Run): void {
  program
    .command('modules')
    .description('show the RAID levels that the daemon has')
    .action(() => run((session) => modules(session)));
}

async function modules(session: Session): Promise<void> {
  const levels = (await (await session.client()).call('raidkit_get_modules')).map((module) => ({
    level: module.level,
    aliases: module.aliases,
    code: module.code,
    least_members: module.base_bdevs_min,
    strip_size: module.strip_size,
    is_redundant: module.redundant,
    can_unmap: module.unmap,
    can_grow: module.resize,
  }));
  const yes = (value: boolean): string => (value ? 'yes' : 'no');
  const rows = levels.map((level) => [
    level.level,
    level.aliases.join(', '),
    `${level.least_members}+`,
    level.strip_size === 'none' ? 'no' : 'yes',
    yes(level.is_redundant),
    yes(level.can_unmap),
    yes(level.can_grow),
  ]);
  session.print({ version: 1, command: 'modules', modules: levels }, renderTable(session.terminal, columns, rows));
}
