import type { RaidModule, SuperblockStore } from '@raidkit/core';
import { Coverage } from './coverage.js';
import { SimMemory } from './sim-memory.js';
import { drawPlan } from './plan.js';
import type { PlanOptions } from './plan.js';
import type { Capabilities } from './simulation/sim-run.js';
import { memoryBytes, simulate } from './simulation/simulate.js';
import type { SimResult } from './simulation/simulate.js';

/** Options of {@link sweep}. */
export interface SweepOptions {
  module: RaidModule;
  store: SuperblockStore;
  from: number;
  count: number;
  capabilities?: Partial<Capabilities>;
  /** Options for drawing plans; by default everything is included. */
  plan?: PlanOptions;
  /** Whether to stop at the first violation. Default false. */
  bail?: boolean;
  onResult?: (result: SimResult) => void;
}

/** Result of {@link sweep}. */
export interface SweepResult {
  seeds: number;
  steps: number;
  coverage: Coverage;
  failures: SimResult[];
}

/** Simulates a range of seeds, one after another, in one memory. */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { module, store, from, count, capabilities = {}, bail = false } = options;
  const memory = new SimMemory({ bytes: memoryBytes });
  const coverage = new Coverage();
  const failures: SimResult[] = [];
  let steps = 0;
  let seeds = 0;
  for (let seed = from; seed < from + count; seed++) {
    const result = await simulate({ seed, module, store, capabilities, memory, plan: drawPlan(seed, module, options.plan) });
    seeds++;
    steps += result.steps;
    coverage.add(result.coverage);
    options.onResult?.(result);
    if (result.violation === null) continue;
    failures.push(result);
    if (bail) break;
  }
  return { seeds, steps, coverage, failures };
}
