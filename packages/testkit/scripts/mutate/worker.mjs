// Runs stages, in a process of its own and bundled with the sources that it is to judge, until one finds something. Says how
// it goes on, one line of JSON a message: { beat }, then { found } or { ended }.
import { writeSync } from 'node:fs';
import process from 'node:process';
import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { SimMemory, conformanceCases, runAssembly, runFaultLoop, simulate } from '@raidkit/testkit';
import { spoilers } from '../spoilers.mjs';

const modules = { raid0, raid1, raid5f, concat };
const { stages, known, bail } = JSON.parse(process.argv[2]);
const isKnown = new Set(known);
const say = (message) => writeSync(1, `${JSON.stringify(message)}\n`);

/** What was found in the stage so far; with `bail` the first of it ends everything. */
function judge(stage, key, after, message) {
  if (isKnown.has(key)) return;
  say({ found: { stage: stage.name, key, after, message: message.split('\n')[0].slice(0, 300) } });
  if (bail) process.exit(0);
}

process.on('unhandledRejection', (error) => {
  judge({ name: 'any' }, 'unhandled', 0, `a promise was rejected that nobody looks at: ${String(error)}`);
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
      if (violation !== null) judge(stage, `${stage.name} seed ${seed}`, seed - stage.from + 1, violation);
    }
  },

  async faults(stage) {
    let count = 0;
    await runFaultLoop({
      module: modules[stage.level],
      store,
      scenario: stage.scenario ?? '',
      every: stage.every,
      seed: stage.seed,
      pairs: stage.pairs ?? false,
      onRun({ scenario, violation, ...fault }) {
        count++;
        say({ beat: count });
        delete fault.trace;
        if (violation !== null) judge(stage, `${stage.name} "${scenario}" ${JSON.stringify(fault)}`, count, violation);
      },
    });
  },

  async assembly(stage) {
    const module = modules[stage.level];
    say({ beat: stage.name });
    const { failures } = await runAssembly({ module, store, numSlots: stage.numSlots, spoilers, every: stage.every, hasOldImages: module.manifest.redundant });
    for (const { index, found, message } of failures) judge(stage, `${stage.name} case ${index}`, index, `${found}: ${message}`);
  },
};

for (const stage of stages) {
  try {
    await visit[stage.kind](stage);
  } catch (error) {
    judge(stage, `${stage.name} threw`, 0, String(error?.stack ?? error));
  }
}
say({ ended: true });
process.exit(0);
