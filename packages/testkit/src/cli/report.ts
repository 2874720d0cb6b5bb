import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LevelOptions } from '@raidkit/core';
import kit from '../../package.json' with { type: 'json' };
import type { LoadedLevel } from './load-level.js';

/** File name of the report of what was tested, beside the package.json of the level's package. */
export const reportName = 'raidkit-conformance.json';

/** Results that the commands add to the report. */
export interface Results {
  /** Number of cases, and ids of those that failed. */
  conformance?: { cases: number; failed: string[] };
  /** Seeds `from` to `from + seeds - 1` were run; `failed` lists those that broke a rule. */
  simulation?: { from: number; seeds: number; failed: number[] };
  /** Faults at every n-th operation. */
  faults?: { every: number; runs: number; violations: number };
  /** Number of planted bugs, and ids of those that nothing found. */
  mutants?: { planted: number; missed: string[] };
}

interface Report extends Results {
  format: 1;
  level: string;
  package: string;
  version: string;
  kit: string;
  options: LevelOptions;
}

/**
 * Adds results to the report if it is for the same level, version, options and kit; otherwise starts a new one. Returns its
 * path.
 */
export function addToReport(
  { folder, module, packageName, version }: LoadedLevel,
  options: LevelOptions,
  results: Results,
): string {
  const path = join(folder, reportName);
  const about = { format: 1, level: module.level, package: packageName, version, kit: kit.version, options } as const;
  const before = read(path);
  const isSame = before !== null && Object.entries(about).every(([key, value]) => same(before[key as keyof Report], value));
  const report: Report = { ...(isSame ? before : {}), ...about, ...results };
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
  return path;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function read(path: string): Report | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return null;
  }
}
