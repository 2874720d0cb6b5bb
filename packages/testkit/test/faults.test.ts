import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { runFaultLoop } from '@raidkit/testkit';
import { expect, it } from 'vitest';
import { mirror } from './support/mirror.js';

/** Every so many-th operation; `npm run sim -- --faults` goes through all. */
for (const [module, every] of [
  [raid0, 31],
  [concat, 37],
  [raid1, 53],
  [raid5f, 127],
] as const) {
  it(`whatever goes wrong at one operation of ${module.level}, nothing is lost or invented`, async () => {
    const { failures, runs, scenarios } = await runFaultLoop({ module, store, every });
    expect(failures.map(({ scenario, at, kind, secondAt, violation }) => `"${scenario}", ${kind ?? 'nothing'} at ${at}, ${secondAt}: ${violation ?? ''}`)).toEqual([]);
    expect(runs).toBeGreaterThan(2 * scenarios);
  });
}

it('a mirror that swallows write errors does not get through', async () => {
  const { failures } = await runFaultLoop({ module: mirror('swallows write errors'), store, scenario: 'writes', kinds: ['eio'] });
  expect(failures.length).toBeGreaterThan(0);
});
