import process from 'node:process';
import type { LevelOptions } from '@raidkit/core';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { cite, clausesOfRules } from '../conformance/clauses.js';
import { conformanceCases } from '../conformance/run.js';
import type { ConformanceCase } from '../conformance/case.js';
import type { ConformanceOptions } from '../conformance/rig.js';
import { runFaultLoop, runOnce } from '../faults/loop.js';
import type { FaultRun } from '../faults/loop.js';
import { scenarios } from '../faults/scenarios.js';
import { drawPlan } from '../plan.js';
import { plantedBugs } from '../planted/bugs.js';
import { findPlanted } from '../planted/find.js';
import type { RedundancyRule } from '../redundancy.js';
import { useRule } from '../redundancy.js';
import { shrink } from '../shrink.js';
import { SimMemory } from '../sim-memory.js';
import { memoryBytes, simulate } from '../simulation/simulate.js';
import type { SimOptions, SimResult } from '../simulation/simulate.js';
import { fewest } from './fewest.js';
import type { LoadedLevel } from './load-level.js';
import { addToReport } from './report.js';
import type { Results } from './report.js';

/** Arguments of every command. */
export interface Given {
  loaded: LoadedLevel;
  levelOptions: LevelOptions;
  checkRedundancy?: RedundancyRule;
  /** Whether results are written to the report of the level's package. */
  hasReport: boolean;
  print: (line: string) => void;
}

/** Larger than the number of requests of any case. */
const mostRequests = 4096;

function finish(given: Given, results: Results, hasFailed: boolean): void {
  if (given.hasReport) given.print(`Written to ${addToReport(given.loaded, given.levelOptions, results)}`);
  if (hasFailed) process.exitCode = 1;
}

/** Runs every conformance case. The first one that fails is repeated with as few requests as possible. */
export async function conformance(given: Given, { seed }: { seed: number }): Promise<void> {
  const { levelOptions, loaded, print } = given;
  const { checkRedundancy } = given;
  const options: ConformanceOptions = {
    module: loaded.module,
    store,
    levelOptions,
    seed,
    ...(checkRedundancy === undefined ? {} : { checkRedundancy }),
  };
  const cases = conformanceCases(loaded.module);
  const failed: ConformanceCase[] = [];
  for (const one of cases) {
    const message = await failureOf(one, options);
    print(`${message === null ? 'ok    ' : 'FAILED'} ${one.id} ${one.title}`);
    if (message !== null) failed.push(one);
  }
  const [first] = failed;
  if (first !== undefined) {
    const count = await fewest(
      mostRequests,
      async (most) => (await failureOf(first, { ...options, mostRequests: most })) !== null,
    );
    print(`\nThe first that failed, with ${count < mostRequests ? `${count} requests at random` : 'all of its requests'}:\n`);
    print((await failureOf(first, { ...options, mostRequests: count })) ?? '');
  }
  print(`\n${loaded.module.level}: ${cases.length - failed.length} of ${cases.length} cases`);
  finish(given, { conformance: { cases: cases.length, failed: failed.map(({ id }) => id) } }, failed.length > 0);
}

async function failureOf(one: ConformanceCase, options: ConformanceOptions): Promise<string | null> {
  try {
    await one.run(options);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Runs simulations. The first one that breaks a rule is minimized. */
export async function simulation(given: Given, { from, seeds }: { from: number; seeds: number }): Promise<void> {
  const { levelOptions, loaded, print } = given;
  const { module } = loaded;
  if (given.checkRedundancy !== undefined) useRule(module, given.checkRedundancy);
  const memory = new SimMemory({ bytes: memoryBytes });
  const failed: SimResult[] = [];
  for (let seed = from; seed < from + seeds; seed++) {
    const plan = drawPlan(seed, module, { levelOptions: [levelOptions] });
    const result = await simulate({ seed, module, store, memory, plan });
    if (result.violation === null) continue;
    print(`seed ${seed}: ${result.violation.split('\n')[0] ?? ''}`);
    failed.push(result);
  }
  const [first] = failed;
  if (first !== undefined) await explain({ seed: first.seed, module, store, memory }, first, print);
  print(`${module.level}: ${seeds - failed.length} of ${seeds} seeds break no rule`);
  finish(given, { simulation: { from, seeds, failed: failed.map(({ seed }) => seed) } }, failed.length > 0);
}

async function explain(options: SimOptions, failing: SimResult, print: Given['print']): Promise<void> {
  const small = await shrink(options, failing);
  const { items, shape } = small.plan;
  print(`\nSeed ${failing.seed} with ${items.length} of ${failing.plan.items.length} things that happen:`);
  print(`  an array of ${shape.numSlots} slots, blocks of ${shape.blockSize} bytes: ${JSON.stringify(shape)}`);
  for (const item of items) print(`  ${JSON.stringify(item)}`);
  print('What it did:');
  for (const line of small.trace) print(`  ${line}`);
  print(small.violation ?? '');
  const rule = /^G[0-9/G]*/.exec(small.violation ?? '')?.[0] ?? '';
  const clauses = clausesOfRules[rule] ?? [];
  if (clauses.length > 0) print('Levels that break this rule have most often broken one of these:');
  for (const clause of clauses) print(`  ${cite(clause)}`);
  print('');
}

/**
 * Injects a fault at each operation, or at every n-th. For the first run that breaks a rule, finds the earliest operation at
 * which the fault does.
 */
export async function faults(
  given: Given,
  { every, scenario, seed }: { every: number; scenario: string; seed: number },
): Promise<void> {
  const { levelOptions, loaded, print } = given;
  const { module } = loaded;
  if (given.checkRedundancy !== undefined) useRule(module, given.checkRedundancy);
  const parts = { module, store, levelOptions };
  const { failures, runs, scenarios: tried } = await runFaultLoop({ ...parts, every, scenario, seed });
  if (tried === 0)
    throw new Error(`no scenario has "${scenario}" in its name; there are ${scenarios.map(({ id }) => id).join(', ')}`);
  for (const run of failures) print(`${nameOf(run)}: ${run.violation?.split('\n')[0] ?? ''}`);
  const [first] = failures;
  if (first !== undefined) {
    const run = await earliest(parts, first);
    print(`\n${nameOf(run)}:`);
    for (const line of run.trace) print(`  ${line}`);
    print(run.violation ?? '');
  }
  print(`${module.level}: ${tried} scenarios, ${runs} runs, ${failures.length} break a rule`);
  finish(given, { faults: { every, runs, violations: failures.length } }, failures.length > 0);
}

/** Returns the failing run with the earliest operation at which the same fault breaks a rule. */
async function earliest(parts: Parameters<typeof runOnce>[0], failing: FaultRun): Promise<FaultRun> {
  const scenario = scenarios.find(({ id }) => id === failing.scenario);
  if (scenario === undefined) return failing;
  for (let at = 1; at < failing.at; at++) {
    const { isPointless, run } = await runOnce(parts, scenario, { ...failing, at });
    if (!isPointless && run.violation !== null) return run;
  }
  return failing;
}

function nameOf({ at, kind, scenario, second }: FaultRun): string {
  const again = second === null ? '' : `, and a power cut at operation ${second.at} of the recovery`;
  return `"${scenario}", ${kind ?? 'nothing wrong'} at operation ${at}${again}`;
}

/**
 * Plants bugs in the level, each of which some test must find: if one is not found, the kit does not test its clause for this
 * level.
 */
export async function mutants(given: Given, { seeds, only }: { seeds: number; only: readonly string[] }): Promise<void> {
  const { levelOptions, loaded, print } = given;
  const { checkRedundancy } = given;
  const bugs = plantedBugs.filter((bug) => bug.applies(loaded.module) && (only.length === 0 || only.includes(bug.id)));
  if (bugs.length === 0) throw new Error(`there is no such bug; there are ${plantedBugs.map(({ id }) => id).join(', ')}`);
  const missed: string[] = [];
  let planted = 0;
  for (const bug of bugs) {
    const found = await findPlanted(bug, {
      module: loaded.module,
      store,
      levelOptions,
      seeds,
      ...(checkRedundancy === undefined ? {} : { checkRedundancy }),
    });
    if (found.isIdle && found.foundBy === null) {
      print(`idle   ${bug.id}: the level never does what this would get wrong (${bug.title})`);
      continue;
    }
    planted++;
    if (found.foundBy === null) missed.push(bug.id);
    const message = found.foundBy === null ? `${bug.title} (${bug.clause})` : `${found.foundBy}: ${found.message}`;
    print(`${found.foundBy === null ? 'MISSED' : 'caught'} ${bug.id}: ${message}`);
  }
  print(`${loaded.module.level}: ${planted - missed.length} of ${planted} planted bugs were found`);
  finish(given, { mutants: { planted, missed } }, missed.length > 0);
}
