import { concat } from '@raidkit/concat';
import type { RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';

for (const module of [raid0, raid1, raid5f, concat]) {
  describe(`${module.level} keeps the promises of the module interface`, () => {
    for (const { id, title, run } of conformanceCases(module)) {
      it(`${id} ${title}`, () => run({ module, store }));
    }
  });
}

it('selects cases by what the module declares alone', () => {
  const ids = (module: RaidModule): string[] => conformanceCases(module).map(({ id }) => id);
  expect(ids(raid1)).toContain('DEG-01');
  expect(ids(raid0)).not.toContain('DEG-01');
  expect(new Set(ids(raid5f)).size).toBe(ids(raid5f).length);
});
