import type { RaidModule } from '@raidkit/core';
import type { ConformanceCase } from './case.js';
import { degradedCases } from './degraded-cases.js';
import { ioCases } from './io-cases.js';
import { processCases } from './process-cases.js';
import type { ConformanceOptions } from './rig.js';
import { startCases } from './start-cases.js';

const all = [...startCases, ...ioCases, ...degradedCases, ...processCases];

/** How one case went. */
export interface ConformanceResult {
  id: string;
  title: string;
  /** Null: the promise is kept. */
  error: Error | null;
}

/** The cases for a module, as what it declares selects them; there is no other way to leave one out. */
export function conformanceCases(module: RaidModule): ConformanceCase[] {
  return all.filter((one) => one.applies(module));
}

/** Runs every case for the module, one after another. Resolves in every case. */
export async function runConformance(options: ConformanceOptions): Promise<ConformanceResult[]> {
  const results: ConformanceResult[] = [];
  for (const { id, title, run } of conformanceCases(options.module)) {
    let error: Error | null = null;
    try {
      await run(options);
    } catch (reason) {
      error = reason instanceof Error ? reason : new Error(String(reason));
    }
    results.push({ id, title, error });
  }
  return results;
}
