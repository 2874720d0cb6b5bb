// Every promise of the level interface; the guide has the clauses that a failure names.
import { describe, it } from 'node:test';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { level as module } from '../dist/index.js';

describe(`${module.level} keeps the promises of the level interface`, () => {
  for (const { id, title, run } of conformanceCases(module)) it(`${id} ${title}`, () => run({ module, store }));
});
