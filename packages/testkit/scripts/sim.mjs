// Simulates seeds until there are no more: npm run sim -- --level raid1 --seeds 20000 --from 0
// Puts arrays together from whatever may be found: npm run sim -- --assembly
// Lets each device operation of each scenario fail: npm run sim -- --faults [--every 10] [--scenario rebuild]
// Runs machines with an array of each level, one process after another, as the daemon does: npm run sim -- --machines --seeds 100
// One of these runs, with its trace: npm run sim -- --faults --level raid1 --scenario rebuild --kind torn --at 17 [--second eio@4]
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import {
  Coverage,
  SimMemory,
  drawPlan,
  runAssembly,
  runFaultLoop,
  runMachine,
  runOnce,
  scenarios,
  shrink,
  simulate,
  sweep,
} from '@raidkit/testkit';
import { spoilers } from './spoilers.mjs';

const modules = { raid0, raid1, raid10, raid5f, raid6, concat };
/** Options of levels that have some: each simulation has one of them, other runs those of `--options`. */
const variants = {
  raid10: [{}, { copies: 3 }, { layout: 'offset' }, { copies: 3, layout: 'offset' }],
};
const { values } = parseArgs({
  options: {
    /** Also corrupts records on the disk of an array of one member, which has known violations. */
    'lone-lies': { type: 'boolean', default: false },
    level: { type: 'string', default: 'all' },
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '0' },
    /** One seed, with its trace. */
    seed: { type: 'string' },
    /** With --seed: leave out whatever the failure does not need. */
    shrink: { type: 'boolean', default: false },
    /** Every case of assembly, instead of seeds. */
    assembly: { type: 'boolean', default: false },
    /** A fault at each device operation, instead of seeds. */
    faults: { type: 'boolean', default: false },
    /** Machines with several arrays, instead of one array a seed. */
    machines: { type: 'boolean', default: false },
    /** With --faults: a fault and what may follow it, instead of one fault. */
    pairs: { type: 'boolean', default: false },
    /** With --faults: only every so many-th operation, and only scenarios with this in their name. */
    every: { type: 'string', default: '1' },
    scenario: { type: 'string', default: '' },
    /** With --faults: one run alone, of the scenario of that name. */
    kind: { type: 'string' },
    at: { type: 'string', default: '1' },
    /** With --kind: what goes wrong at which operation of the recovery from a crash, and what follows it: "eio@4", "eio@4,cut+7". */
    second: { type: 'string', default: '' },
    /** With --kind, a crash: what is done before an ordinary start, and which of its variants: "foreign@7", "forced@7". */
    recovery: { type: 'string', default: '' },
    /** With --faults --pairs: only crashes and what such a recovery makes of them, or an outage in the start. */
    recoveries: { type: 'boolean', default: false },
    /** What was written before is still in caches; and what follows the fault: stripe, rest, or kill, cut or torn so many operations later, as "cut+7". */
    unflushed: { type: 'boolean', default: false },
    then: { type: 'string', default: '' },
    target: { type: 'boolean', default: false },
    records: { type: 'boolean', default: false },
    /** With --faults: of arrays with checksums. */
    integrity: { type: 'boolean', default: false },
    /** With --faults and --assembly: options of the level, as JSON. */
    options: { type: 'string', default: '{}' },
    /** Violations after which a level is given up. */
    failures: { type: 'string', default: '20' },
  },
});
const levelOptions = JSON.parse(values.options);
const levels = values.level === 'all' ? Object.keys(modules) : values.level.split(',');
for (const level of levels) {
  if (modules[level] === undefined) throw new Error(`there is no level ${level}; there are ${Object.keys(modules).join(', ')}`);
}

let current = '';
process.on('unhandledRejection', (error) => {
  console.log(`${current}: a promise was rejected without a handler:`, error);
  process.exitCode = 1;
});

if (values.machines) await machines();
else if (values.seed !== undefined) await showOne(levels[0], Number(values.seed));
else if (values.kind !== undefined) await showFault(levels[0]);
else for (const level of levels) await (values.assembly ? assemble(level) : values.faults ? loop(level) : go(level));

async function machines() {
  const parts = { modules: levels.map((level) => modules[level]), store, memory: new SimMemory({ bytes: 32 << 20 }) };
  const from = Number(values.seed ?? values.from);
  const count = values.seed === undefined ? Number(values.seeds) : 1;
  const coverage = new Coverage();
  let failures = 0;
  for (let seed = from; seed < from + count && failures < Number(values.failures); seed++) {
    current = `machine ${seed}`;
    const result = await runMachine(seed, parts);
    coverage.add(result.coverage);
    if (values.seed !== undefined) console.log(result.trace.join('\n'));
    if (result.violation === null) continue;
    failures++;
    console.log(`machine ${seed}: ${result.violation}`);
  }
  console.log(`${count} machines, ${failures} violations`);
  printCoverage(coverage);
  if (failures > 0) process.exitCode = 1;
}

async function showFault(level) {
  const scenario = scenarios.find(({ id }) => id === values.scenario);
  if (scenario === undefined)
    throw new Error(`there is no scenario "${values.scenario}"; there are "${scenarios.map(({ id }) => id).join('", "')}"`);
  const parts = { module: modules[level], store, levelOptions, hasIntegrity: values.integrity };
  const { run } = await runOnce(parts, scenario, {
    at: Number(values.at),
    kind: values.kind,
    second: secondOf(values.second),
    recovery: recoveryOf(values.recovery),
    isFlushed: !values.unflushed,
    ...(values.target ? { of: 'target' } : values.records ? { of: 'records' } : {}),
    follow: followOf(values.then),
  });
  console.log(run.trace.join('\n'));
  console.log(run.violation ?? 'no rule is broken');
  if (run.violation !== null) process.exitCode = 1;
}

function followOf(text) {
  if (text === '') return null;
  const [kind, after] = text.split('+');
  return after === undefined ? { kind } : { kind, after: Number(after) };
}

function recoveryOf(text) {
  if (text === '') return null;
  const [kind, draw] = text.split('@');
  return { kind, draw: Number(draw) };
}

function secondOf(text) {
  if (text === '') return null;
  const [strike, then = ''] = text.split(',');
  const [kind, at] = strike.split('@');
  return { kind, at: Number(at), follow: followOf(then) };
}

/** The options that run it again. */
function describeFault({ at, follow = null, isFlushed, kind, of, recovery = null, scenario, second }) {
  const then = follow === null ? '' : ` --then ${describeFollow(follow)}`;
  const start = recovery === null ? '' : ` --recovery ${recovery.kind}@${recovery.draw}`;
  const again = second === null ? '' : ` --second ${second.kind}@${second.at}`;
  const last = (second?.follow ?? null) === null ? '' : `,${describeFollow(second.follow)}`;
  return `--scenario "${scenario}"${isFlushed === false ? ' --unflushed' : ''} --kind ${kind} --at ${at}${of === undefined ? '' : ` --${of}`}${then}${start}${again}${last}`;
}

function describeFollow({ after, kind }) {
  return after === undefined ? kind : `${kind}+${after}`;
}

async function loop(level) {
  const startedAt = performance.now();
  const { coverage, failures, runs, scenarios } = await runFaultLoop({
    module: modules[level],
    store,
    levelOptions,
    scenario: values.scenario,
    pairs: values.pairs || values.recoveries,
    recoveries: values.recoveries,
    hasIntegrity: values.integrity,
    every: Number(values.every),
    seed: Number(values.from),
    onRun: (run) => (current = `${level}, ${describeFault(run)}`),
  });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`${level}: ${scenarios} scenarios, ${runs} runs, ${failures.length} violations, ${seconds} s`);
  for (const run of failures) console.log(`  ${describeFault(run)}: ${run.violation.split('\n')[0]}`);
  for (const [name, count] of coverage.entries()) console.log(`${String(count).padStart(9)}  ${name}`);
  if (failures.length > 0) process.exitCode = 1;
}

async function assemble(level) {
  const module = modules[level];
  for (let numSlots = Math.max(module.baseBdevsMin, levelOptions.copies ?? 2); numSlots <= 4; numSlots++) {
    const startedAt = performance.now();
    const { cases, failures, refused, rightData } = await runAssembly({
      module,
      store,
      numSlots,
      levelOptions,
      spoilers,
      hasOldImages: module.redundancy !== 'none',
    });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(
      `${level} of ${numSlots}: ${cases} cases, ${rightData} right, ${refused} refused, ${failures.length} wrong, ${seconds} s`,
    );
    for (const { index, found, message } of failures.slice(0, Number(values.failures)))
      console.log(`  case ${index}, ${found}: ${message}`);
    if (failures.length > 0) process.exitCode = 1;
  }
}

function planOptions(level) {
  return { levelOptions: variants[level], hasLoneMetadataLies: values['lone-lies'] };
}

async function showOne(level, seed) {
  const module = modules[level];
  const plan = drawPlan(seed, module, planOptions(level));
  let result = await simulate({ seed, module, store, plan });
  if (values.shrink && result.violation !== null) result = await shrink({ seed, module, store }, result);
  console.log(result.trace.join('\n'));
  console.log(JSON.stringify(result.plan.shape));
  if (values.shrink) for (const item of result.plan.items) console.log(JSON.stringify(item));
  console.log(
    `seed ${seed} level ${level}: ${result.violation ?? 'no rule is broken'} (${result.steps} steps, trace ${result.traceHash})`,
  );
  if (result.violation !== null) process.exitCode = 1;
}

async function go(level) {
  const module = modules[level];
  const coverage = new Coverage();
  const startedAt = performance.now();
  const until = Number(values.from) + Number(values.seeds);
  let seeds = 0;
  let steps = 0;
  let failures = 0;
  for (let from = Number(values.from); from < until && failures < Number(values.failures); from += 500) {
    current = `seeds from ${from} level ${level}`;
    const part = await sweep({
      module,
      store,
      from,
      count: Math.min(500, until - from),
      plan: planOptions(level),
    });
    seeds += part.seeds;
    steps += part.steps;
    failures += part.failures.length;
    coverage.add(part.coverage);
    for (const { seed, violation } of part.failures) console.log(`seed ${seed} level ${level}: ${violation.split('\n')[0]}`);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `${level}: ${seeds} seeds, ${failures} violations, ${(seeds / seconds).toFixed(1)} seeds/s, ${Math.round(steps / seconds)} steps/s`,
  );
  printCoverage(coverage);
  if (failures > 0) process.exitCode = 1;
}

/** Counts, and what happened in which state of the array: a 0 is a pair that these seeds never came to. */
function printCoverage(coverage) {
  const pairs = new Map();
  const states = new Set();
  for (const [name, count] of coverage.entries()) {
    const [what, state] = name.split(' / ');
    if (state === undefined) {
      console.log(`${String(count).padStart(9)}  ${name}`);
      continue;
    }
    states.add(state);
    if (!pairs.has(what)) pairs.set(what, new Map());
    pairs.get(what).set(state, count);
  }
  const columns = [...states].sort();
  console.log(columns.map((state) => state.padStart(12)).join(''));
  for (const [what, counts] of pairs)
    console.log(`${columns.map((state) => String(counts.get(state) ?? 0).padStart(12)).join('')}  ${what}`);
}
