import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import type { LevelOptions } from '@raidkit/core';
import kit from '../../package.json' with { type: 'json' };
import type { RedundancyRule } from '../redundancy.js';
import { conformance, faults, mutants, simulation } from './commands.js';
import type { Given } from './commands.js';
import { loadLevel } from './load-level.js';
import { reportName } from './report.js';

interface Common {
  level?: string;
  options: LevelOptions;
  rule?: string;
  report: boolean;
}

function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number, 0 to 999999999.');
  return Number(text);
}

function positive(text: string): number {
  const value = count(text);
  if (value === 0) throw new InvalidArgumentError('It must be 1 or more.');
  return value;
}

function json(text: string): LevelOptions {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as LevelOptions;
  } catch {
    // The error is reported below.
  }
  throw new InvalidArgumentError('It must be a JSON object, {"copies":3}.');
}

async function given(named: string, { level, options, report, rule }: Common): Promise<Given> {
  const loaded = await loadLevel(named, level);
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  const all: Given = { loaded, levelOptions: options, hasReport: report, print };
  if (rule === undefined) return all;
  const { checkRedundancy } = (await import(pathToFileURL(rule).href)) as { checkRedundancy?: RedundancyRule };
  if (typeof checkRedundancy !== 'function') throw new Error(`${rule} exports no function checkRedundancy`);
  return { ...all, checkRedundancy };
}

const program = new Command('raidkit-testkit')
  .description('Tries a RAID level, which is a package name, or the path of a package or of a file that was built.')
  .version(kit.version);

function command(name: string, description: string): Command {
  return program
    .command(`${name} <level>`)
    .description(description)
    .option('--level <id>', 'which level, if there are several')
    .option('--options <json>', 'options of the level that its arrays have', json, {})
    .option('--rule <file>', 'a module that exports checkRedundancy, the level’s own judge of its redundancy')
    .option('--no-report', `do not write ${reportName}`);
}

command('conformance', 'every promise of the level interface')
  .option('--seed <n>', 'chooses the requests at random', count, 1)
  .action(async (named: string, options: Common & { seed: number }) => conformance(await given(named, options), options));

command('sim', 'users, failing disks, power cuts; the same seed is the same run')
  .option('--seeds <n>', 'how many', positive, 200)
  .option('--from <n>', 'the first of them', count, 1)
  .option('--seed <n>', 'one alone', count)
  .action(async (named: string, options: Common & { seeds: number; from: number; seed?: number }) => {
    const { seed, seeds, from } = options;
    const wanted = seed === undefined ? { from, seeds } : { from: seed, seeds: 1 };
    await simulation(await given(named, seed === undefined ? options : { ...options, report: false }), wanted);
  });

command('faults', 'one fault at a time, at each operation of each scenario')
  .option('--every <n>', 'only at every so many-th operation', positive, 40)
  .option('--scenario <text>', 'only scenarios with this in their name', '')
  .option('--seed <n>', 'which operations', count, 0)
  .action(async (named: string, options: Common & { every: number; scenario: string; seed: number }) =>
    faults(await given(named, options), options),
  );

command('mutants', 'mistakes that authors make, planted in the level one at a time: something must find each')
  .option('--seeds <n>', 'simulations at most, after the conformance cases', count, 100)
  .option('--only <ids>', 'only these, with commas between', (text) => text.split(','), [])
  .action(async (named: string, options: Common & { seeds: number; only: string[] }) =>
    mutants(await given(named, options), options),
  );

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`raidkit-testkit: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
