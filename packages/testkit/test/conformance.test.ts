import type { RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { conformanceCases } from '@raidkit/testkit';
import { expect, it } from 'vitest';

it('selects cases by what the module declares alone', () => {
  const ids = (module: RaidModule): string[] => conformanceCases(module).map(({ id }) => id);
  expect(ids(raid1)).toContain('DEG-01');
  expect(ids(raid0)).not.toContain('DEG-01');
  expect(new Set(ids(raid5f)).size).toBe(ids(raid5f).length);
});
