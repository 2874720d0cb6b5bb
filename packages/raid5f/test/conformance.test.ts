import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

describe('raid5f keeps the promises of the level interface', () => {
  for (const { id, title, run } of conformanceCases(raid5f)) it(`${id} ${title}`, () => run({ module: raid5f, store }));
});
