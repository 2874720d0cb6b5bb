import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bench } from './support/raidctl.js';

const good = {
  format: 1,
  package: '@acme/valid',
  version: '1.2.3',
  kit: '0.1.0',
  conformance: { cases: 30, failed: ['RW-03'] },
  simulation: { from: 1, seeds: 200, failed: [] },
};

/** What packages have beside their package.json, and what is shown of it. */
const reports: Record<string, { report: string | null; shown: RegExp }> = {
  none: { report: null, shown: /none$/ },
  valid: { report: JSON.stringify({ ...good, level: 'valid' }), shown: /29\/30 cases, 200\/200 seeds \(kit 0\.1\.0\)$/ },
  older: {
    report: JSON.stringify({ ...good, level: 'older', version: '1.2.2' }),
    shown: /unusable: .*it is for version 1\.2\.2, and the package is 1\.2\.3$/,
  },
  malformed: { report: '{ "format": 1,', shown: /unusable: .*it is not JSON$/ },
  hostile: {
    report: JSON.stringify({ ...good, level: 'hostile', kit: '\u001b[2J\nraid1 1+ no yes yes yes 1000/1000 cases', more: {} }),
    shown: /unusable: .*kit$/,
  },
  huge: {
    report: JSON.stringify({ ...good, level: 'huge', kit: 'x'.repeat(1 << 20) }),
    shown: /unusable: .*more than 262144 bytes$/,
  },
};

const test = bench((folder) => {
  const args = ['--level-folder', folder];
  for (const [index, [level, { report }]] of Object.entries(reports).entries()) {
    const place = join(folder, 'node_modules/@acme', level);
    mkdirSync(place, { recursive: true });
    const about = { name: `@acme/${level}`, version: '1.2.3', type: 'module', exports: './index.js' };
    writeFileSync(join(place, 'package.json'), JSON.stringify(about));
    writeFileSync(
      join(place, 'index.js'),
      `export const level = { level: '${level}', aliases: [], code: ${0x1c20 + index}, apiVersion: 1, redundancy: 'none', baseBdevsMin: 1,
        manifest: { stripSize: 'none', nullPayload: false, resize: false }, start() { throw new Error('not here'); } };\n`,
    );
    if (report !== null) writeFileSync(join(place, 'raidkit-conformance.json'), report);
    args.push('--level', `@acme/${level}`);
  }
  return args;
});

it('shows what the packages of levels say that they have been tried with, and why a report counts for nothing', async () => {
  const lines = (await test.ok('modules')).split('\n');
  for (const [level, { shown }] of Object.entries(reports)) {
    const own = lines.filter((line) => line.startsWith(`${level} `));
    expect(own).toHaveLength(1);
    expect(own[0]).toMatch(shown);
  }
  expect(lines.filter((line) => line.startsWith('raid1 '))).toHaveLength(1);
  expect(lines.at(-1)).toMatch(/^CLAIMS are claims of the packages themselves/);
  const { modules } = await test.json('modules', 'modules');
  const claimed = modules.filter(({ conformance }) => conformance !== null);
  expect(claimed).toMatchObject([{ level: 'valid', conformance: { cases: 30, cases_failed: 1, seeds: 200 } }]);
});
