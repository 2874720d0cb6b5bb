import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { clearTimeout, setTimeout } from 'node:timers';
import { mutated, pathOf, root } from './sources.mjs';

/** Longest that suites may take; a mutation that makes them wait for ever is found by that. */
const longestMs = 15 * 60_000;

/**
 * Names and files of the tests that fail, with the mutation or, for null, without one. `bail`: the first of them is enough.
 * `only`: none but the test of this name. Null if `mostMs` milliseconds were not enough to know.
 */
export async function failingTests(suites, folder, mutation, { mostMs = Infinity, bail = false, only } = {}) {
  const about = { path: '', contentsIn: join(folder, 'mutated.ts') };
  if (mutation !== null) {
    about.path = pathOf(mutation);
    await writeFile(about.contentsIn, await mutated(mutation));
  }
  const report = join(folder, 'suites.json');
  const args = [
    'run',
    '--config',
    join(import.meta.dirname, 'vitest.config.mjs'),
    '--root',
    root,
    '--reporter',
    'json',
    '--outputFile',
    report,
    '--maxWorkers',
    '1',
    ...(bail ? ['--bail', '1'] : []),
    ...(only === undefined ? [] : ['--testNamePattern', only.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')]),
  ];
  const child = spawn(process.execPath, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), ...args, ...suites], {
    cwd: root,
    env: { ...process.env, RAIDKIT_MUTATION: JSON.stringify(about), RAIDKIT_MUTATION_CACHE: join(folder, 'cache') },
    stdio: 'ignore',
  });
  const ended = await new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(longestMs, Math.max(1, mostMs)));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal });
    });
  });
  if (ended.signal !== null) return mostMs < longestMs ? null : [{ fullName: 'the suites take for ever' }];
  const { testResults } = JSON.parse(await readFile(report, 'utf8'));
  return testResults.flatMap(({ name, message, status, assertionResults }) => {
    const file = name.slice(root.length + 1);
    const failed = assertionResults.filter((one) => one.status === 'failed').map(({ fullName }) => ({ file, fullName }));
    // This file does not even load.
    return failed.length === 0 && status === 'failed' && message !== '' ? [{ file, fullName: file }] : failed;
  });
}
