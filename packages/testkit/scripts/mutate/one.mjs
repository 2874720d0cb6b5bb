import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { bundle } from './bundle.mjs';
import { isSimulated, suitesOf } from './stages.mjs';
import { failingTests } from './suites.mjs';

/** A worker that says nothing for so long does not come to an end. */
const longestSilenceMs = 180_000;

/**
 * Has the stages look for the mutation (null: at the sources as they are), and then its suites; what is in `known` is passed
 * over. Gives what was found: the first of it, or, without a mutation, all.
 */
export async function look(mutation, stages, known, { withSuites = true, failing = async () => [] } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'raidkit-mutate-'));
  try {
    const found = mutation === null || isSimulated(mutation) ? await simulate(mutation, stages, known, folder) : [];
    if (mutation === null || found.length > 0 || (!withSuites && isSimulated(mutation))) return found;
    const suites = suitesOf(mutation);
    const failed = await failingTests(suites, folder, mutation);
    const before = failed.length === 0 ? [] : await failing(suites);
    const news = failed.filter((name) => !before.includes(name));
    return news.slice(0, 1).map((name) => ({ stage: 'suites', key: `suites ${name}`, after: 0, message: name }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function simulate(mutation, stages, known, folder) {
  const outfile = join(folder, 'worker.mjs');
  await bundle(outfile, mutation);
  const child = spawn(
    process.execPath,
    ['--max-old-space-size=4096', outfile, JSON.stringify({ stages, known, bail: mutation !== null })],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const found = [];
  let hasEnded = false;
  let isSilent = false;
  const beSilent = () => {
    isSilent = true;
    child.kill('SIGKILL');
  };
  let timer = setTimeout(beSilent, longestSilenceMs);
  const closed = new Promise((resolve) => child.on('close', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(timer);
    timer = setTimeout(beSilent, longestSilenceMs);
    const message = JSON.parse(line);
    if (message.found !== undefined) found.push(message.found);
    if (message.ended === true) hasEnded = true;
  }
  clearTimeout(timer);
  await closed;
  if (found.length === 0 && !hasEnded) {
    const message = isSilent ? 'it does not come to an end' : 'the process ends';
    found.push({ stage: 'any', key: 'process', after: 0, message });
  }
  return found;
}
