// Mutation testing of our own: one line of the sources at a time is made wrong, and something must notice.
//   npm run mutate -- --check              every line of the table is there, exactly once
//   npm run mutate -- --sample 10 --seed 7 ten of them, as CI does; the seed chooses which
//   npm run mutate -- --seconds 60         of those that tests of core find as many as there is time for
//   npm run mutate -- --all --nightly      all, with the nightly's budget; --report writes the table of results
//   npm run mutate -- --only flush-before-departure,no-bit-before-a-write
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { transform } from 'esbuild';
import { mutations } from '../mutations/index.mjs';
import { look } from './mutate/one.mjs';
import { report } from './mutate/report.mjs';
import { mutated, root } from './mutate/sources.mjs';
import { isSimulated, stagesFor } from './mutate/stages.mjs';
import { failingTests } from './mutate/suites.mjs';

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    /** So many, chosen by the seed. */
    sample: { type: 'string' },
    /** As many as can be tried in so many seconds, of those that tests of core are to find; one that survives is an error. */
    seconds: { type: 'string' },
    /** Which of them, and which seeds and operations; default: 0, or for a sample the number of commits, so that CI goes through all. */
    seed: { type: 'string' },
    /** Those with these ids, or of files whose name contains this, in the order in which they are given. */
    only: { type: 'string' },
    nightly: { type: 'boolean', default: false },
    /** Longest that one may take, in seconds; one that takes longer is not decided, and nothing is recorded of it. */
    most: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    /** With a fraction of CI's budget, and where something is simulated without the suites of packages. */
    quick: { type: 'boolean', default: false },
    /** Writes the results to the table and to docs/mutations.md. */
    report: { type: 'boolean', default: false },
  },
});

/** The time limit of suites in milliseconds; the result of one that takes longer is not known. */
const mostQuickMs = 20_000;

const resultsFile = join(import.meta.dirname, '..', 'mutations', 'results.json');
const results = JSON.parse(await readFile(resultsFile, 'utf8').catch(() => '{}'));
const seed = Number(values.seed ?? (values.sample === undefined && values.seconds === undefined ? 0 : commits()));

await checkTable();
if (values.check) {
  console.log(
    `${mutations.length} mutations, each line is there once; ${mutations.filter(({ equivalent }) => equivalent !== undefined).length} are equivalents`,
  );
} else if (values.seconds !== undefined) {
  await runFor(Number(values.seconds) * 1000);
} else {
  const chosen = choose();
  if (chosen.length === 0) throw new Error('nothing was chosen: --all, --sample N or --only ID,…');
  await runAll(chosen);
}

function commits() {
  return execFileSync('git', ['rev-list', '--count', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
}

async function checkTable() {
  const seen = new Set();
  const wrong = [];
  for (const mutation of mutations) {
    if (seen.has(mutation.id)) wrong.push(`${mutation.id} is there twice`);
    seen.add(mutation.id);
    try {
      // A mutation that does not even load would be found by any test.
      await transform(await mutated(mutation), { loader: 'ts', logLevel: 'silent' });
    } catch (error) {
      wrong.push(`${mutation.id}: ${error.message}`);
    }
  }
  if (wrong.length === 0) return;
  console.error(wrong.join('\n'));
  process.exit(1);
}

function choose() {
  const killable = mutations.filter(({ equivalent }) => equivalent === undefined);
  if (values.only !== undefined) {
    const isMeant = ({ id, file }, word) => word === id || (word.includes('/') && file.includes(word));
    return [...new Set(values.only.split(',').flatMap((word) => mutations.filter((mutation) => isMeant(mutation, word))))];
  }
  if (values.all) return killable;
  const count = Number(values.sample ?? 0);
  // A walk through the whole table: consecutive seeds choose others until all have been chosen.
  const step = 37;
  return Array.from(
    { length: Math.min(count, killable.length) },
    (_, i) => killable[((seed * count + i) * step) % killable.length],
  );
}

/** With each seed, which is the number of commits, it begins elsewhere. */
async function runFor(mostMs) {
  const quick = mutations.filter(
    (mutation) =>
      mutation.equivalent === undefined &&
      testsThatFind(mutation)?.every((suite) => suite.startsWith('packages/core/test/')) === true,
  );
  const began = performance.now();
  const left = () => mostMs - (performance.now() - began);
  const step = 37;
  let tried = 0;
  for (let i = 0; i < quick.length && left() > 0; i++) {
    const mutation = quick[((seed + i) * step) % quick.length];
    const folder = await mkdtemp(join(tmpdir(), 'raidkit-mutate-'));
    const run = (suites, only) =>
      failingTests(suites, folder, mutation, { mostMs: Math.min(left(), mostQuickMs), bail: true, only });
    try {
      const { again } = results[mutation.id] ?? {};
      let failing = again?.kind === 'suites' ? await run(again.suites, again.only) : [];
      if (failing?.length === 0) failing = await run(testsThatFind(mutation));
      if (failing === null) continue;
      tried++;
      console.log(`${failing.length > 0 ? 'caught  ' : 'SURVIVED'} ${mutation.id}: ${failing[0]?.fullName ?? mutation.loses}`);
      if (failing.length === 0) process.exitCode = 1;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  console.log(`${tried} of ${quick.length} mutations that tests of their own find were tried`);
}

/** Files of tests that are to find it, or that have found it before; undefined: simulation does. */
function testsThatFind({ id, suites }) {
  const { again } = results[id] ?? {};
  return suites ?? (again?.kind === 'suites' ? again.suites : undefined);
}

async function runAll(chosen) {
  const budget = values.nightly ? 'nightly' : values.quick ? 'quick' : 'ci';
  const mostMs = values.most === undefined ? Infinity : Number(values.most) * 1000;
  const left = [...chosen];
  const survivors = [];
  const undecided = [];
  /** These survivors had been found before. */
  const lapses = [];
  const work = async () => {
    for (let mutation = left.shift(); mutation !== undefined; mutation = left.shift()) {
      const startedAt = performance.now();
      const stages = hintedFirst(stagesFor(mutation, budget, seed), results[mutation.id]);
      let found;
      try {
        found = await look(mutation, stages, mostMs);
      } catch (error) {
        console.error(`${mutation.id} could not be tried: ${error.message}`);
        lapses.push(mutation);
        continue;
      }
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      if (found === undefined) {
        undecided.push(mutation);
        console.log(`not decided ${mutation.id} (${seconds} s)`);
        continue;
      }
      if (found === null && typeof results[mutation.id]?.stage === 'string') lapses.push(mutation);
      // It means nothing that a fraction of the budget finds nothing.
      const isKnown = found !== null || !values.quick || !isSimulated(mutation);
      if (isKnown) results[mutation.id] = resultOf(found, results[mutation.id]);
      if (found === null) survivors.push(mutation);
      console.log(
        `${found === null ? 'SURVIVED' : 'caught  '} ${mutation.id} (${seconds} s): ${found === null ? mutation.loses : `${found.stage}: ${found.message}`}`,
      );
      if (values.report) await report(resultsFile, join(root, 'docs', 'mutations.md'), results);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));
  console.log(
    `${chosen.length} mutations, ${survivors.length} survived${survivors.length > 0 ? `: ${survivors.map(({ id }) => id).join(', ')}` : ''}`,
  );
  if (undecided.length > 0) console.log(`${undecided.length} took too long: ${undecided.map(({ id }) => id).join(', ')}`);
  // A mutation that has never been found is not reported, except by the nightly run, in which none may survive.
  if (lapses.length > 0 || (values.nightly && survivors.length > 0)) process.exitCode = 1;
}

/** As it is kept. What is found by what had found it before is no more than that: how long it took is known from then. */
function resultOf(found, before) {
  if (found === null) return { stage: null };
  const { after, again, message, stage } = found;
  if (before?.again !== undefined && isDeepStrictEqual(before.again, again)) return before;
  return { stage, after, message, ...(again === null || again === undefined ? {} : { again }) };
}

/** What has found the mutation before is asked first: the very case, and then its stage. */
function hintedFirst(stages, { again, stage } = {}) {
  const first = again === undefined ? [] : [again];
  return [...first, ...stages.filter(({ name }) => name === stage), ...stages.filter(({ name }) => name !== stage)];
}
