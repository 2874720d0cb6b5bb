import { readFileSync, writeFileSync } from 'node:fs';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { afterAll, expect, it } from 'vitest';
import { fuzz } from './fuzz/fuzz.js';
import { jsonTargets } from './fuzz/targets/json.js';
import { memberTargets } from './fuzz/targets/members.js';
import { nbdTargets } from './fuzz/targets/nbd.js';

// Every parser of what others have written, with random inputs. `npm run fuzz` has more of it.

const corpusFile = new URL('./fixtures/fuzz-corpus.json', import.meta.url);
/** The inputs by target, deflated and in base64. */
const corpus = JSON.parse(readFileSync(corpusFile, 'utf8')) as Record<string, string[]>;
/** For each target. */
const seconds = Number(process.env.RAIDKIT_FUZZ_SECONDS ?? 1);
/** Without a seed of its own a run tries the same inputs as any other, or, where it is slower, the first of them. */
const seed = Number(process.env.RAIDKIT_FUZZ_SEED ?? 1);
const mostInputs = process.env.RAIDKIT_FUZZ_SEED === undefined ? 1024 : Infinity;
const savesCorpus = process.env.RAIDKIT_FUZZ_SAVE === '1';
/** The inputs of one target in the file. */
const mostSaved = 60;
const mostSavedBytes = 2048;

const targets = [...memberTargets, ...nbdTargets, ...jsonTargets];

it.each(targets.map((target) => [target.name, target] as const))('%s', async (_, target) => {
  const earlier = corpus[target.name] ?? [];
  const budget = {
    seconds,
    mostInputs,
    seed,
    corpus: earlier.map((text) => new Uint8Array(inflateRawSync(Buffer.from(text, 'base64')))),
  };
  const { blocks, inputs, kept } = await fuzz(target, budget);
  console.log(
    `${target.name}: ${inputs} inputs, seed ${seed}, ${blocks} characters of the sources have run, ${kept.length} inputs are new`,
  );
  expect(inputs).toBeGreaterThan(target.seeds.length);
  const small = kept.map((bytes) => deflateRawSync(bytes)).filter(({ length }) => length <= mostSavedBytes);
  corpus[target.name] = [...earlier, ...small.map((bytes) => bytes.toString('base64'))].slice(0, mostSaved);
});

afterAll(() => {
  if (savesCorpus) writeFileSync(corpusFile, `${JSON.stringify(corpus, null, 1)}\n`);
});
