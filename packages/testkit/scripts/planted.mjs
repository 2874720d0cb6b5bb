// Plants every bug of the kit in every level of ours, and says what finds it: cases first, then simulations.
//   node packages/testkit/scripts/planted.mjs [--level raid10] [--only no-lock,…] [--seeds 500] [--options '{"layout":"offset"}'] [--report]
// --report: what finds them is kept, for docs/planted-bugs.md.
import process from 'node:process';
import { parseArgs } from 'node:util';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { findPlanted, plantedBugs } from '@raidkit/testkit';
import { report } from './planted/report.mjs';

const modules = { raid0, raid1, raid10, raid5f, raid6 };
const { values } = parseArgs({
  options: {
    level: { type: 'string', default: Object.keys(modules).join() },
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '500' },
    options: { type: 'string', default: '{}' },
    report: { type: 'boolean', default: false },
  },
});
const wanted = values.only === '' ? null : values.only.split(',');
const counts = { caught: 0, 'caught elsewhere': 0, idle: 0, MISSED: 0 };

for (const level of values.level.split(',')) {
  const module = modules[level];
  if (module === undefined) throw new Error(`there is no level ${level}; there are ${Object.keys(modules).join(', ')}`);
  const findings = {};
  const levelOptions = JSON.parse(values.options);
  for (const bug of plantedBugs) {
    if (!bug.applies(module) || (wanted !== null && !wanted.includes(bug.id))) continue;
    const found = await findPlanted(bug, { module, store, levelOptions, seeds: Number(values.seeds) });
    const how = found.foundBy === null ? (found.isIdle ? 'idle' : 'MISSED') : found.namesClause ? 'caught' : 'caught elsewhere';
    counts[how]++;
    console.log(`${how.padEnd(16)} ${level} ${bug.id} (${bug.clause}): ${found.foundBy ?? 'nothing'}: ${found.message}`);
    const { clause, foundBy, isIdle, message, namesClause } = found;
    findings[bug.id] = { clause, foundBy, namesClause, isIdle, message };
    if (values.report) await report(level, levelOptions, findings);
  }
}
console.log(
  Object.entries(counts)
    .map(([how, count]) => `${count} ${how}`)
    .join(', '),
);
if (counts.MISSED > 0) process.exitCode = 1;
