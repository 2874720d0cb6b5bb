import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { RaidModule } from '@raidkit/core';
import { z } from 'zod';

/** Report that `raidkit-testkit` writes beside the package.json of a level's package. */
const fileName = 'raidkit-conformance.json';
const mostBytes = 256 * 1024;

const count = z.int().min(0);
const text = z.string().max(256);
const names = z.array(text).max(10_000);
/** Shown to people in one line, as it is. */
const word = z.string().regex(/^[\w.+-]{1,64}$/, 'must be 1 to 64 letters, digits and . + - _');

const tooMany = 'more runs have failed than were done';

const reportSchema = z.object({
  format: z.literal(1),
  level: word,
  version: word,
  kit: word,
  conformance: z
    .object({ cases: count, failed: names })
    .refine(({ cases, failed }) => failed.length <= cases, tooMany)
    .optional(),
  simulation: z
    .object({ from: count, seeds: count, failed: z.array(count).max(1_000_000) })
    .refine(({ failed, seeds }) => failed.length <= seeds, tooMany)
    .optional(),
  faults: z
    .object({ every: count, runs: count, violations: count })
    .refine(({ runs, violations }) => violations <= runs, tooMany)
    .optional(),
  mutants: z
    .object({ planted: count, missed: names })
    .refine(({ missed, planted }) => missed.length <= planted, tooMany)
    .optional(),
});

/** What a level's package states about its conformance tests. Its author states this; the daemon has not tested it. */
export interface LevelClaim {
  kit_version: string;
  level_version: string;
  cases: number;
  cases_failed: number;
  seeds: number;
  seeds_failed: number;
  fault_runs: number;
  fault_violations: number;
  bugs_planted: number;
  bugs_missed: number;
}

/** A report, or why it is not valid. Both null: the package has no report. */
export interface FoundClaim {
  claim: LevelClaim | null;
  error: string | null;
}

const none: FoundClaim = { claim: null, error: null };
const claims = new WeakMap<RaidModule, FoundClaim>();

/** Returns the report of the module's package. */
export function claimOf(module: RaidModule): FoundClaim {
  return claims.get(module) ?? none;
}

/** Reads the report of the package that contains the file from which the module was loaded. Never throws. */
export function noteClaim(module: RaidModule, file: string): void {
  try {
    claims.set(module, readClaim(module, file));
  } catch (error) {
    claims.set(module, { claim: null, error: error instanceof Error ? error.message : String(error) });
  }
}

/** Undefined if the file is not JSON. The parser's message is not used because it would quote the contents. */
function contentOf(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function readClaim(module: RaidModule, file: string): FoundClaim {
  let folder = dirname(file);
  while (!existsSync(join(folder, 'package.json'))) {
    if (folder === dirname(folder)) return none;
    folder = dirname(folder);
  }
  const path = join(folder, fileName);
  if (!existsSync(path)) return none;
  const refused = (why: string): FoundClaim => ({ claim: null, error: `${path}: ${why}` });
  const about = statSync(path);
  if (!about.isFile()) return refused('it is not a file');
  if (about.size > mostBytes) return refused(`it has more than ${mostBytes} bytes`);
  const content = contentOf(path);
  if (content === undefined) return refused('it is not JSON');
  const parsed = reportSchema.safeParse(content);
  if (!parsed.success) return refused(z.prettifyError(parsed.error).replaceAll('\n', ' '));
  const { conformance, faults, kit, level, mutants, simulation, version } = parsed.data;
  if (level !== module.level) return refused(`it is for level ${level}`);
  const own = (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version?: unknown }).version;
  if (version !== own) return refused(`it is for version ${version}, and the package is ${String(own)}`);
  return {
    claim: {
      kit_version: kit,
      level_version: version,
      cases: conformance?.cases ?? 0,
      cases_failed: conformance?.failed.length ?? 0,
      seeds: simulation?.seeds ?? 0,
      seeds_failed: simulation?.failed.length ?? 0,
      fault_runs: faults?.runs ?? 0,
      fault_violations: faults?.violations ?? 0,
      bugs_planted: mutants?.planted ?? 0,
      bugs_missed: mutants?.missed.length ?? 0,
    },
    error: null,
  };
}
