import { concat } from '@raidkit/concat';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

describe('concat keeps the promises of the level interface', () => {
  for (const { id, title, run } of conformanceCases(concat)) it(`${id} ${title}`, () => run({ module: concat, store }));
});
