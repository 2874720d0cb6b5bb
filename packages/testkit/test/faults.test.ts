import { concat } from '@raidkit/concat';
import type { LevelOptions, RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { Coverage, runFaultLoop, runOnce, scenarios } from '@raidkit/testkit';
import type { FaultRun } from '@raidkit/testkit';
import { expect, it } from 'vitest';
import { mirror } from './support/mirror.js';
import { runSeed } from './support/run-seed.js';

/** Which operations are tried, and what follows them: others with each commit. */
const seed = runSeed();

/** Every so many-th operation; `npm run sim -- --faults` goes through all, and with `--pairs` through those of two faults. */
const sampled: [RaidModule, number, LevelOptions?][] = [
  [raid0, 31],
  [concat, 37],
  [raid1, 83],
  [raid10, 499, { layout: 'offset' }],
  [raid5f, 191],
  [raid6, 997],
];

for (const [module, every, levelOptions = {}] of sampled) {
  it(`whatever goes wrong at one operation of ${module.level}, nothing is lost or invented`, async () => {
    const { failures, runs, scenarios } = await runFaultLoop({ module, store, every, seed, levelOptions });
    expect(failures.map(describe), `with RAIDKIT_FAULT_SEED=${seed}`).toEqual([]);
    // The first run of each scenario is without a fault.
    expect(runs).toBeGreaterThan(scenarios);
  });

  it(`nor whatever goes wrong at ${module.level} after a first fault`, async () => {
    const { coverage, failures } = await runFaultLoop({ module, store, every: 2 * every, seed, pairs: true, levelOptions });
    expect(failures.map(describe), `with RAIDKIT_FAULT_SEED=${seed}`).toEqual([]);
    expect(coverage.entries().filter(([name]) => name.includes(' after a fault /')).length).toBeGreaterThan(0);
  });
}

function describe({ at, follow = null, isFlushed, kind, of, recovery = null, scenario, second, violation }: FaultRun): string {
  const fault = `${kind ?? 'nothing'} at ${at}${of === undefined ? '' : ` of ${of}`}, ${JSON.stringify({ follow, recovery, second })}`;
  return `"${scenario}"${isFlushed === false ? ', unflushed' : ''}, ${fault}: ${violation ?? ''}`;
}

it('a start after a crash meets every fault that a start may meet', async () => {
  const { coverage, failures } = await runFaultLoop({
    module: raid1,
    store,
    scenario: 'stop and start',
    // No other pair starts with it.
    kinds: ['kill'],
    every: 2,
    pairs: true,
  });
  expect(failures.map(describe)).toEqual([]);
  const inStarts = coverage.entries().filter(([name]) => name.endsWith(' / down') || name.endsWith(' / configuring'));
  const kinds = new Set(inStarts.map(([name]) => name.split(' ')[0]));
  expect([...kinds]).toEqual(expect.arrayContaining(['eio', 'dead', 'readOnly', 'full', 'hang', 'gone', 'outage']));
});

it.each([raid1, raid5f])(
  'what another program, or a start by force, makes of a crash of $level loses no more than it may',
  async (module) => {
    const { coverage, failures } = await runFaultLoop({
      module,
      store,
      scenario: 'degraded writes',
      every: 11,
      pairs: true,
      recoveries: true,
    });
    expect(failures.map(describe)).toEqual([]);
    const seen = new Set(coverage.entries().map(([name]) => name));
    expect(seen).toContain('foreign run with some writes');
    expect(seen).toContain(module === raid1 ? 'started by force from what is older' : 'refused by force, too');
  },
);

it('of a complete array that a start by force begins without a member nothing is lost but what was being written', async () => {
  const { coverage, failures } = await runFaultLoop({
    module: raid5f,
    store,
    scenario: 'regions become clean, and are written again',
    every: 5,
    pairs: true,
    recoveries: true,
  });
  expect(failures.map(describe)).toEqual([]);
  expect(coverage.entries().map(([name]) => name)).toContain('started by force without a member');
});

it('a start that is refused for a device that has lost a header succeeds without that device, and nothing is lost', async () => {
  const scenario = scenarios.find(({ id }) => id === 'a copy is added');
  const coverage = new Coverage();
  const isMet = (): boolean => coverage.entries().some(([name]) => name.startsWith('a start is refused for one device'));
  // Only few of these cut a round short where one member alone has its superblock.
  for (let at = 20; at <= 60 && !isMet(); at++) {
    for (let after = 4; after <= 12 && !isMet(); after++) {
      const { run } = await runOnce({ module: raid1, store }, scenario!, {
        at,
        kind: 'lost',
        of: 'records',
        second: null,
        follow: { kind: 'torn', after },
        coverage,
      });
      expect(run.violation, `lost at ${at}, torn ${after} operations later`).toBeNull();
    }
  }
  expect(isMet()).toBe(true);
});

it('a start that is refused for a device that another program did not see succeeds without it, with what that program wrote', async () => {
  const scenario = scenarios.find(({ id }) => id === 'a member is replaced while it serves');
  const coverage = new Coverage();
  const isMet = (): boolean => coverage.entries().some(([name]) => name.startsWith('a start is refused for one device'));
  // Only in the last round does the new device alone have the superblock, for a few operations.
  for (let at = 80; at <= 118 && !isMet(); at++) {
    const recovery = { kind: 'foreign', draw: at } as const;
    const { run } = await runOnce({ module: raid5f, store }, scenario!, { at, kind: 'torn', second: null, recovery, coverage });
    expect(run.violation, `torn at ${at}`).toBeNull();
  }
  expect(isMet()).toBe(true);
});

it('a write that is lost where no redundancy is left is not judged, also if it is read at once', async () => {
  const scenario = scenarios.find(({ id }) => id === 'writes across the place where a rebuild is');
  let pointless = 0;
  for (let at = 56; at <= 72; at++) {
    const { isPointless, run } = await runOnce({ module: raid5f, store }, scenario!, { at, kind: 'lost', second: null });
    expect(run.violation, `lost at ${at}`).toBeNull();
    if (isPointless) pointless++;
  }
  expect(pointless).toBeGreaterThan(0);
});

it('a mirror that takes a failed read for data does not get through', async () => {
  const { failures } = await runFaultLoop({
    module: mirror('takes a failed read for data'),
    store,
    scenario: 'writes',
    kinds: ['eio'],
    every: 2,
  });
  expect(failures.length).toBeGreaterThan(0);
});

it('a member that goes away while the array starts leaves no superblock without the array’s size', async () => {
  const scenario = scenarios.find(({ id }) => id === 'stop and start');
  const { operations } = await runOnce({ module: raid1, store }, scenario!, { at: 0, kind: null, second: null });
  for (let at = 1; at <= operations; at++) {
    const { run } = await runOnce({ module: raid1, store }, scenario!, {
      at,
      kind: 'gone',
      second: null,
      follow: { kind: 'kill', after: 8 },
    });
    expect(run.violation, `gone at ${at}`).toBeNull();
  }
});

it('what depends on a write that a device has lost may be anything at once, and not only when the scenario is over', async () => {
  const scenario = scenarios.find(({ id }) => id === 'writes across the place where a rebuild is');
  const { isPointless, run } = await runOnce({ module: raid6, store }, scenario!, { at: 20, kind: 'lost', second: null });
  expect(isPointless).toBe(false);
  expect(run.violation).toBeNull();
});

it('a kill in a round leaves no member that is being filled as the only one that knows of it', async () => {
  const scenario = scenarios.find(({ id }) => id === 'a member leaves, and another while the first is rebuilt');
  // The round that records that another member leaves is among these operations.
  for (let at = 28; at <= 40; at++) {
    const { run } = await runOnce({ module: raid1, store }, scenario!, { at, kind: 'kill', second: null });
    expect(run.violation).toBeNull();
  }
});
