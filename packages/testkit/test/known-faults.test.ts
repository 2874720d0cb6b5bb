import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { runOnce, scenarios } from '@raidkit/testkit';
import { expect, it } from 'vitest';

// Faults that once did harm, and that the samples of the fault loop seldom draw.

it('a raid6 gives a resync another buffer for what a member that hangs still has', async () => {
  const scenario = scenarios.find(({ id }) => id === 'redundancy is in doubt')!;
  for (const at of [19, 22, 23]) {
    const { run } = await runOnce({ module: raid6, store }, scenario, { at, kind: 'hang', second: null, isFlushed: false });
    expect(run.violation, `hang at ${at}`).toBeNull();
  }
});

it('a raid6 whose journal stands for one member invents nothing when two more fail at once', async () => {
  const scenario = scenarios.find(({ id }) => id === 'rebuild under load')!;
  const { run } = await runOnce({ module: raid6, store }, scenario, {
    at: 38,
    kind: 'eio',
    second: null,
    follow: { kind: 'stripe' },
  });
  expect(run.violation).toBeNull();
});
