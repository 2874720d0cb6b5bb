import type { RaidModule } from '@raidkit/core';
import type { ConformanceCase } from './case.js';
import { ClauseError, cite } from './clauses.js';
import type { ClauseId } from './clauses.js';
import { degradedCases } from './degraded-cases.js';
import { doubtCases } from './doubt-cases.js';
import { ioCases } from './io-cases.js';
import { nullCases } from './null-cases.js';
import { processCases } from './process-cases.js';
import type { ConformanceOptions } from './rig.js';
import { startCases } from './start-cases.js';

const all = [...startCases, ...ioCases, ...nullCases, ...degradedCases, ...doubtCases, ...processCases];

/** Thrown when a level fails a case: the first line says what was observed, the others which clauses to read. */
export class ConformanceError extends Error {
  readonly caseId: string;
  /** Clauses of the guide that are probably broken, the most likely first. */
  readonly clauses: readonly ClauseId[];

  constructor({ clause, id, obligations, title }: ConformanceCase, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const own = cause instanceof ClauseError ? cause.clause : null;
    // The clause that was observed to be broken comes first, then the others that the case tests.
    const more = own === null || obligations.includes(own) ? obligations.filter((number) => number !== own) : [];
    const broken = own === null ? more : [own, ...more];
    const lines = broken.map((number) => `  ${cite(number)}`);
    super(`${id}: ${reason}\n${id} says: ${title} (${clause}). The guide has it in:\n${lines.join('\n')}`, { cause });
    this.name = 'ConformanceError';
    this.caseId = id;
    this.clauses = broken;
  }
}

/** Result of one case. */
export interface ConformanceResult {
  id: string;
  title: string;
  /** Why the case failed; null if it passed. */
  error: Error | null;
}

/** Returns the cases that apply to a module, given its declarations. There is no other way to leave a case out. */
export function conformanceCases(module: RaidModule): ConformanceCase[] {
  return all.filter((one) => one.applies(module)).map((one) => ({ ...one, run: (options) => runCase(one, options) }));
}

async function runCase(one: ConformanceCase, options: ConformanceOptions): Promise<void> {
  try {
    await one.run(options);
  } catch (cause) {
    throw new ConformanceError(one, cause);
  }
}

/** Runs every case for the module, one after another. Never rejects. */
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
