import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { SimMemory, runMachine } from '@raidkit/testkit';
import { expect, it } from 'vitest';

const parts = { modules: [raid0, raid1, raid10, raid5f, raid6, concat], store, memory: new SimMemory({ bytes: 32 << 20 }) };

it('machines with an array of each level lose nothing, one process after another', async () => {
  let replayed = 0;
  for (const seed of [1, 2, 3, 4, 5]) {
    const { coverage, violation } = await runMachine(seed, parts);
    expect(violation, `machine ${seed}`).toBeNull();
    replayed += coverage.count('the configuration is replayed');
  }
  expect(replayed).toBeGreaterThan(10);
});
