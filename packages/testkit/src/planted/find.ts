import type { RaidModule } from '@raidkit/core';
import { clausesOfRules } from '../conformance/clauses.js';
import type { ClauseId } from '../conformance/clauses.js';
import { ConformanceError, conformanceCases } from '../conformance/run.js';
import type { ConformanceOptions } from '../conformance/rig.js';
import { drawPlan } from '../plan.js';
import { SimMemory } from '../sim-memory.js';
import { memoryBytes, simulate } from '../simulation/simulate.js';
import type { PlantedBug } from './bug.js';

/** Options of {@link findPlanted}. */
export interface FindOptions extends Omit<ConformanceOptions, 'module'> {
  /** The level, without the bug. */
  module: RaidModule;
  /** Maximum number of simulations after the conformance cases. Default 100. */
  seeds?: number;
  /** Seed of the first simulation. Default 1. */
  from?: number;
}

/** How a planted bug was found. */
export interface Finding {
  bug: string;
  clause: ClauseId;
  /** Case or seed that found it, such as `RW-03` or `seed 17`; null if nothing did. */
  foundBy: string | null;
  /** Whether the message names the clause that the bug breaks. */
  namesClause: boolean;
  /** First line of the message. */
  message: string;
  /** True if no level reached the place of the mistake, because it does not do what the bug would break. */
  isIdle: boolean;
}

/**
 * Searches for a planted bug: with the conformance cases, starting with those for its clause, until one fails that names the
 * clause; then with simulations. If nothing names the clause, returns the first failure.
 */
export async function findPlanted(bug: PlantedBug, options: FindOptions): Promise<Finding> {
  const { from = 1, levelOptions, module, seeds = 100, ...rest } = options;
  let isIdle = bug.hasTap;
  const broken = bug.plant(module, () => {
    isIdle = false;
  });
  let first: Finding | null = null;
  const isMadeForIt = ({ obligations }: { readonly obligations: readonly ClauseId[] }): number =>
    obligations.includes(bug.clause) ? 0 : 1;
  const cases = [...conformanceCases(broken)].sort((a, b) => isMadeForIt(a) - isMadeForIt(b));
  const found = (foundBy: string, message: string, named: readonly ClauseId[]): Finding => ({
    bug: bug.id,
    clause: bug.clause,
    foundBy,
    namesClause: named.includes(bug.clause),
    message: message.split('\n')[0] ?? '',
    isIdle: false,
  });
  const nothing = (): Finding => ({
    bug: bug.id,
    clause: bug.clause,
    foundBy: null,
    namesClause: false,
    message: '',
    isIdle,
  });
  for (const { id, run } of cases) {
    try {
      await run({ ...rest, module: broken, ...(levelOptions === undefined ? {} : { levelOptions }) });
    } catch (error) {
      const named = error instanceof ConformanceError ? error.clauses : [];
      const finding = found(id, String(error instanceof Error ? error.message : error), named);
      if (finding.namesClause) return finding;
      first ??= finding;
    }
  }
  if (seeds === 0) return first ?? nothing();
  const memory = new SimMemory({ bytes: memoryBytes });
  for (let seed = from; seed < from + seeds; seed++) {
    // Bugs of levels do not concern metadata.
    const plan = drawPlan(seed, module, { levelOptions: [levelOptions ?? {}], hasMetadataLies: false });
    const { violation } = await simulate({ seed, module: broken, store: options.store, memory, plan });
    if (violation === null) continue;
    const rule = /^G[0-9/G]*/.exec(violation)?.[0] ?? '';
    const finding = found(`seed ${seed}`, violation, clausesOfRules[rule] ?? []);
    if (finding.namesClause) return finding;
    first ??= finding;
    break;
  }
  return first ?? nothing();
}
