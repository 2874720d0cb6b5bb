import { raid0 } from '@raidkit/raid0';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

describe('raid0 keeps the promises of the level interface', () => {
  for (const { id, title, run } of conformanceCases(raid0)) it(`${id} ${title}`, () => run({ module: raid0, store }));
});
