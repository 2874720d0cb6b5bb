import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { claimOf } from '../src/level-claims.js';
import type { FoundClaim } from '../src/level-claims.js';
import { loadLevels } from '../src/level-modules.js';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Returns the claims of a third-party level whose package has this report; with null it has none. */
async function found(report: string | null): Promise<FoundClaim> {
  const folder = mkdtempSync(join(tmpdir(), 'raidkit-claims-'));
  folders.push(folder);
  const name = '@acme/claims';
  const place = join(folder, 'node_modules', name);
  mkdirSync(join(place, 'dist'), { recursive: true });
  const about = { name, version: '1.2.3', type: 'module', exports: './dist/index.js' };
  writeFileSync(join(place, 'package.json'), JSON.stringify(about));
  const level = `export const claims = { level: 'acme-claims', aliases: [], code: 0x1c1a, apiVersion: 1, redundancy: 'none', baseBdevsMin: 1,
    manifest: { stripSize: 'none', nullPayload: false, resize: false }, start() { throw new Error('not here'); } };\n`;
  writeFileSync(join(place, 'dist/index.js'), level);
  if (report !== null) writeFileSync(join(place, 'raidkit-conformance.json'), report);
  const registry = await loadLevels([name], folder);
  return claimOf(registry.byName('acme-claims')!);
}

const good = {
  format: 1,
  level: 'acme-claims',
  package: '@acme/claims',
  version: '1.2.3',
  kit: '0.1.0',
  conformance: { cases: 30, failed: ['RW-03'] },
  simulation: { from: 1, seeds: 200, failed: [] },
};

it('a level’s package says what it has been tried with', async () => {
  const { claim, error } = await found(JSON.stringify(good));
  expect(error).toBeNull();
  expect(claim).toMatchObject({ kit_version: '0.1.0', cases: 30, cases_failed: 1, seeds: 200, seeds_failed: 0, fault_runs: 0 });
});

it('one that says nothing claims nothing', async () => {
  expect(await found(null)).toEqual({ claim: null, error: null });
});

it('what is not of this level and version, or no report at all, counts for nothing, and why is said', async () => {
  const refused: [string, RegExp][] = [
    [JSON.stringify({ ...good, version: '1.2.2' }), /for version 1\.2\.2, and the package is 1\.2\.3/],
    [JSON.stringify({ ...good, level: 'raid1' }), /for level raid1/],
    [JSON.stringify({ ...good, conformance: { cases: -1, failed: [] } }), /conformance/],
    ['{', /it is not JSON$/],
    ['\u001b[2Jraid1 is fine', /it is not JSON$/],
    [JSON.stringify({ ...good, kit: '0.1.0\nraid7  yes' }), /kit/],
    [JSON.stringify({ ...good, kit: 'x'.repeat(100_000) }), /kit/],
    [JSON.stringify({ ...good, kit: { toString: 1 } }), /kit/],
    [JSON.stringify({ ...good, conformance: { cases: 30, failed: [{}] } }), /conformance/],
    [JSON.stringify({ ...good, conformance: { cases: 1, failed: ['a', 'b'] } }), /more runs have failed than were done/],
    [JSON.stringify({ ...good, simulation: { from: 0, seeds: 1e300, failed: [] } }), /simulation/],
    ['null', /expected object/],
    [JSON.stringify({ ...good, more: 'x'.repeat(300_000) }), /more than 262144 bytes/],
  ];
  for (const [report, why] of refused) {
    const { claim, error } = await found(report);
    expect(claim).toBeNull();
    expect(error).toMatch(why);
  }
});
