import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

describe('raid6 keeps the promise', () => {
  for (const { id, title, run } of conformanceCases(raid6)) it(`${id} ${title}`, () => run({ module: raid6, store }));
});
