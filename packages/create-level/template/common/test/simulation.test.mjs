// Users, failing disks, power cuts. One seed alone, shrunk and with its trace: npm run sim -- --seed N
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { drawPlan, shrink, simulate, sweep } from '@raidkit/testkit';
import { level as module } from '../dist/index.js';

const count = Number(process.env.SEEDS ?? 200);

it(`${module.level}: seeds 1 to ${count} break no rule`, async () => {
  const { failures } = await sweep({ module, store, from: 1, count, bail: true, plan: { levelOptions: [{}] } });
  const [failing] = failures;
  if (failing === undefined) return;
  const { seed } = failing;
  const small = await shrink({ seed, module, store, plan: drawPlan(seed, module, { levelOptions: [{}] }) }, failing);
  const items = small.plan.items.map((item) => JSON.stringify(item));
  assert.fail([`seed ${seed}: ${small.violation}`, ...items, ...small.trace].join('\n'));
});

it('and the same seed is the same run', async () => {
  const first = await simulate({ seed: 3, module, store });
  assert.equal((await simulate({ seed: 3, module, store })).traceHash, first.traceHash);
});
