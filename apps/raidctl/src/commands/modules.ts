import type { Command } from 'commander';
import type { LevelModule } from '@raidkit/client';
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
  { heading: 'CLAIMS' },
] as const;

const optionColumns = [
  { heading: 'LEVEL' },
  { heading: 'OPTION' },
  { heading: 'VALUES' },
  { heading: 'DEFAULT' },
  { heading: 'MEANING' },
] as const;

type Option = LevelModule['options'][string];

function valuesOf({ enum: words, maximum, minimum, type }: Option): string {
  if (words !== undefined) return words.join(', ');
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`;
  return { boolean: 'true, false', any: 'JSON' }[type as string] ?? type;
}

function usualOf({ default: usual }: Option): string {
  return usual === undefined ? '' : String(usual);
}

/** Conformance fields of a module. */
interface Claimed {
  conformance: {
    cases: number;
    cases_failed: number;
    seeds: number;
    seeds_failed: number;
    fault_runs: number;
    fault_violations: number;
    kit_version: string;
  } | null;
  conformance_error: string | null;
}

/** Describes the conformance report of a level's package. */
function claimIn({ conformance, conformance_error: error }: Claimed): string {
  if (error !== null) return `unusable: ${error}`;
  if (conformance === null) return 'none';
  const { cases, cases_failed: casesFailed, fault_runs: runs, fault_violations: violations, kit_version: kit } = conformance;
  const { seeds, seeds_failed: seedsFailed } = conformance;
  const parts = [
    [cases, casesFailed, 'cases'],
    [seeds, seedsFailed, 'seeds'],
    [runs, violations, 'fault runs'],
  ] as const;
  const told = parts.filter(([all]) => all > 0).map(([all, failed, what]) => `${all - failed}/${all} ${what}`);
  return `${told.join(', ') || 'nothing'} (kit ${kit})`;
}

export function addModules(program: Command, run: Run): void {
  program
    .command('modules')
    .description('show the RAID levels that the daemon has')
    .action(() => run((session) => modules(session)));
}

async function modules(session: Session): Promise<void> {
  const found = await (await session.client()).call('raidkit_get_modules');
  const levels = found.map((module) => ({
    level: module.level,
    aliases: module.aliases,
    code: module.code,
    least_members: module.base_bdevs_min,
    strip_size: module.strip_size,
    is_redundant: module.redundant,
    can_unmap: module.unmap,
    can_grow: module.resize,
    options: module.options,
    conformance: module.conformance,
    conformance_error: module.conformance_error,
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
    claimIn(level),
  ]);
  const options = levels.flatMap((level) =>
    Object.entries(level.options).map(([name, option]) => [
      level.level,
      name,
      valuesOf(option),
      usualOf(option),
      option.description,
    ]),
  );
  const texts = [renderTable(session.terminal, columns, rows)];
  if (options.length > 0) texts.push(renderTable(session.terminal, optionColumns, options));
  const isClaimed = levels.some(({ conformance }) => conformance !== null);
  const note = 'CLAIMS are claims of the packages themselves, from raidkit-conformance.json. raidkit has not verified them.';
  session.print({ version: 1, command: 'modules', modules: levels }, [...texts, ...(isClaimed ? [note] : [])].join('\n'));
}
