// Mistakes planted in the level: what would find them if you made them. npm run mutants plants all.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { findPlanted, plantedBugs } from '@raidkit/testkit';
import { level as module } from '../dist/index.js';

const chosen = [
  'volume-too-big',
  'throws-now-and-then',
  'leaks-memory',
  'failed-read-hangs',
  'member-blocks-too-big',
  'grows-to-anything',
  'skips-a-member',
  'no-lock',
  'gives-up-at-read-errors',
  'buffer-read-into-again',
  'may-lose-one-more',
  'never-repairs',
  'no-is-inconsistent',
];
const bugs = plantedBugs.filter((bug) => chosen.includes(bug.id) && bug.applies(module));

for (const bug of bugs)
  it(`a level that has this wrong is found out: ${bug.title}`, async () => {
    const { foundBy } = await findPlanted(bug, { module, store, seeds: 50 });
    assert.notEqual(foundBy, null);
  });
