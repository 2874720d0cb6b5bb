// One fault at a time, at every so many-th operation of each scenario: npm run faults -- --every 1 goes through all.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { runFaultLoop } from '@raidkit/testkit';
import { level as module } from '../dist/index.js';

it(`${module.level}: whatever goes wrong at one operation, nothing is lost or invented`, async () => {
  const { failures, runs } = await runFaultLoop({ module, store, every: Number(process.env.EVERY ?? 199) });
  assert.deepEqual(
    failures.map(({ at, kind, scenario, violation }) => `"${scenario}", ${kind} at ${at}: ${violation}`),
    [],
  );
  assert(runs > 10, `${runs} runs`);
});
