import { raid1 } from '@raidkit/raid1';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

describe('raid1 keeps the promises of the level interface', () => {
  for (const { id, title, run } of conformanceCases(raid1)) it(`${id} ${title}`, () => run({ module: raid1, store }));
});
