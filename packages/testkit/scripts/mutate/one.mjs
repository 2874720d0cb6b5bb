import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { bundle } from './bundle.mjs';
import { failingTests } from './suites.mjs';

/** A worker that says nothing for so long does not come to an end; where time is short, for so long. */
const longestSilenceMs = 180_000;
const shortSilenceMs = 45_000;

/**
 * Has the stages look for the mutation, one after another, for at most `mostMs` milliseconds. What they find counts if it is not
 * there without the mutation. Gives what was found, null for nothing, or undefined if there was not time enough to know.
 */
export async function look(mutation, stages, mostMs = Infinity) {
  const folder = await mkdtemp(join(tmpdir(), 'raidkit-mutate-'));
  const endAt = performance.now() + mostMs;
  const known = [];
  try {
    for (;;) {
      const found = await firstOf(mutation, stages, known, folder, endAt);
      if (found === null || found === undefined || !(await isThereAnyway(found, folder))) return found;
      console.log(`without a mutation: ${found.key}: ${found.message}`);
      known.push(found.key);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function firstOf(mutation, stages, known, folder, endAt) {
  let next = 0;
  while (next < stages.length) {
    const leftMs = endAt - performance.now();
    if (leftMs <= 0) return undefined;
    const isOfSuites = stages[next].kind === 'suites';
    const count = isOfSuites ? 1 : stages.slice(next).findIndex(({ kind }) => kind === 'suites');
    const some = stages.slice(next, count < 0 ? stages.length : next + count);
    const found = await (isOfSuites
      ? test(mutation, some[0], known, folder, leftMs)
      : simulate(mutation, some, known, folder, leftMs));
    if (found !== null) return found;
    next += some.length;
  }
  return null;
}

/** The very case, or where it cannot be had alone its stage, finds the same in the sources as they are. */
async function isThereAnyway({ again, stageAsked, key }, folder) {
  const stage = again ?? stageAsked;
  if (stage === undefined) return false;
  if (stage.kind === 'suites') {
    const failing = await failingTests(stage.suites, folder, null, { only: key });
    return failing.some(({ fullName }) => fullName === key);
  }
  const found = await simulate(null, [stage], [], folder, Infinity);
  return found !== null;
}

async function test(mutation, stage, known, folder, mostMs) {
  const failing = await failingTests(stage.suites, folder, mutation, {
    mostMs,
    bail: known.length === 0,
    only: stage.only,
  });
  if (failing === null) return undefined;
  const news = failing.find(({ fullName }) => !known.includes(fullName));
  if (news === undefined) return null;
  const { file, fullName } = news;
  const only = fullName === file ? {} : { only: fullName };
  const again = file === undefined ? null : { name: 'suites', kind: 'suites', suites: [file], ...only };
  return { stage: 'suites', key: fullName, after: 0, message: fullName, again };
}

async function simulate(mutation, stages, known, folder, mostMs) {
  const outfile = join(folder, mutation === null ? 'as-it-is.mjs' : 'worker.mjs');
  await bundle(outfile, mutation);
  const child = spawn(process.execPath, ['--max-old-space-size=4096', outfile, JSON.stringify({ stages, known })], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let found = null;
  let stageAsked = stages[0];
  /** With null the worker has ended by itself. */
  let endedBy = null;
  let hasEnded = false;
  const kill = (by) => {
    endedBy ??= by;
    child.kill('SIGKILL');
  };
  const silenceMs = mostMs === Infinity ? longestSilenceMs : shortSilenceMs;
  let silence = setTimeout(kill, silenceMs, 'silence');
  const deadline = mostMs === Infinity ? undefined : setTimeout(kill, mostMs, 'deadline');
  const closed = new Promise((resolve) => child.on('close', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(silence);
    silence = setTimeout(kill, silenceMs, 'silence');
    const message = JSON.parse(line);
    if (message.found !== undefined) found ??= message.found;
    if (message.stage !== undefined) stageAsked = message.stage;
    if (message.ended === true) hasEnded = true;
  }
  clearTimeout(silence);
  clearTimeout(deadline);
  await closed;
  if (found !== null) return { ...found, stageAsked };
  if (hasEnded) return null;
  if (endedBy === 'deadline') return undefined;
  const message = endedBy === 'silence' ? 'it does not come to an end' : 'the process ends';
  return { stage: stageAsked.name, key: 'process', after: 0, message, again: null, stageAsked };
}
