// Runs stages, in a process of its own and bundled with the sources that it is to judge, until one finds something. Says how
// it goes on, one line of JSON a message: { stage } and { beat }, then { found } or { ended }.
import { writeSync } from 'node:fs';
import process from 'node:process';
import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { SimMemory, conformanceCases, runAssembly, runFaultLoop, runOnce, scenarios, simulate } from '@raidkit/testkit';
import { spoilers } from '../spoilers.mjs';

const modules = { raid0, raid1, raid5f, concat };
const { stages, known } = JSON.parse(process.argv[2]);
const isKnown = new Set(known);
const say = (message) => writeSync(1, `${JSON.stringify(message)}\n`);

/** Ends the run, because something was found. `again` is the stage that finds this alone. */
function judge(stage, key, after, message, again = null) {
  if (isKnown.has(key)) return;
  say({ found: { stage: stage.name, key, after, message: message.split('\n')[0].slice(0, 300), again } });
  process.exit(0);
}

process.on('unhandledRejection', (error) => {
  judge({ name: 'any' }, 'unhandled', 0, `a promise was rejected without a handler: ${String(error)}`);
});

const visit = {
  async conformance(stage) {
    const module = modules[stage.level];
    let count = 0;
    for (const { id, run } of conformanceCases(module)) {
      count++;
      say({ beat: id });
      await run({ module, store }).catch((error) => judge(stage, `${stage.name} ${id}`, count, String(error)));
    }
  },

  async simulation(stage) {
    const memory = new SimMemory({ bytes: 64 * 1024 * 1024 });
    for (let seed = stage.from; seed < stage.from + stage.seeds; seed++) {
      say({ beat: seed });
      const { violation } = await simulate({ seed, module: modules[stage.level], store, memory });
      if (violation !== null)
        judge(stage, `${stage.name} seed ${seed}`, seed - stage.from + 1, violation, { ...stage, from: seed, seeds: 1 });
    }
  },

  /** Runs only one fault, which has found something before. */
  async fault(stage) {
    const scenario = scenarios.find(({ id }) => id === stage.scenario);
    if (scenario === undefined) return;
    const { run } = await runOnce({ module: modules[stage.level], store }, scenario, stage.fault);
    if (run.violation !== null)
      judge(stage, `${stage.name} "${stage.scenario}" ${JSON.stringify(stage.fault)}`, 1, run.violation, stage);
  },

  faults: (stage) => strike(stage, false),
  pairs: (stage) => strike(stage, true),

  async assembly(stage) {
    const module = modules[stage.level];
    say({ beat: stage.name });
    const { failures } = await runAssembly({
      module,
      store,
      numSlots: stage.numSlots,
      spoilers,
      every: stage.every,
      hasOldImages: module.redundancy !== 'none',
    });
    for (const { index, found, message } of failures)
      judge(stage, `${stage.name} case ${index}`, index, `${found}: ${message}`);
  },
};

async function strike(stage, pairs) {
  let count = 0;
  await runFaultLoop({
    module: modules[stage.level],
    store,
    scenario: stage.scenario ?? '',
    every: stage.every,
    seed: stage.seed,
    pairs,
    onRun({ scenario, violation, ...fault }) {
      count++;
      say({ beat: count });
      delete fault.trace;
      const again = { name: stage.name, kind: 'fault', level: stage.level, scenario, fault };
      if (violation !== null) judge(stage, `${stage.name} "${scenario}" ${JSON.stringify(fault)}`, count, violation, again);
    },
  });
}

for (const stage of stages) {
  say({ stage });
  try {
    await visit[stage.kind](stage);
  } catch (error) {
    judge(stage, `${stage.name} threw`, 0, String(error?.stack ?? error));
  }
}
say({ ended: true });
process.exit(0);
