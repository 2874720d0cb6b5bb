import type { LevelOptions } from '@raidkit/core';
import { raid10 } from '@raidkit/raid10';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases } from '@raidkit/testkit';
import { describe, it } from 'vitest';

const each: LevelOptions[] = [{ copies: 3 }, { layout: 'offset' }];

for (const levelOptions of each)
  describe(`raid10 with ${JSON.stringify(levelOptions)} keeps the promise`, () => {
    for (const { id, title, run } of conformanceCases(raid10))
      it(`${id} ${title}`, () => run({ module: raid10, store, levelOptions }));
  });
