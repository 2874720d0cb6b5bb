import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { arrayContent, goldenSets, memberImage } from './support/golden.js';

const examples = fileURLToPath(new URL('../examples/', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkit-examples-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** What an example prints. It must end by itself, with exit code 0. */
async function run(name: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(examples, `${name}.mjs`), ...args], { timeout: 50_000 });
  return stdout;
}

/** Those that are run below, so that a new one is not forgotten. */
const names = ['copy-out-read-only', 'mirror-two-files', 'own-level', 'serve-over-nbd', 'watch-events'];

it('all of them are run here', () => {
  expect(readdirSync(examples).filter((file) => file.endsWith('.mjs'))).toEqual(names.map((name) => `${name}.mjs`));
});

it('a mirror over two files is made once, and found again', async () => {
  const paths = ['a', 'b'].map((name) => join(folder, name));
  expect(await run('mirror-two-files', ...paths)).toMatch(/^run 1 over/);
  expect(await run('mirror-two-files', ...paths)).toMatch(/^run 2 over/);
});

it('a program that waits for a rebuild lives until it has ended', async () => {
  const printed = await run('watch-events');
  expect(printed).toContain('"spareActivated"');
  expect(printed).toContain('the spare is a member');
});

it('a level in one file reads what it wrote', async () => {
  expect(await run('own-level')).toContain('the same');
});

describe('an array that SPDK made', () => {
  it.each([
    ['whole', 'raid0-3x8m-4096-16k'],
    ['without a member', 'raid5f-4-removed'],
  ])('is copied out of images that can only be read, %s', async (_, name) => {
    const set = goldenSets().find((one) => one.set === name)!;
    const images = set.membersForAssembly.map((index) => {
      const path = join(folder, `member${index}`);
      writeFileSync(path, memberImage(set, index));
      chmodSync(path, 0o444);
      return { index, path, uuid: set.members[index]!.uuid };
    });
    const output = join(folder, 'volume');
    await run('copy-out-read-only', output, ...images.map(({ path, uuid }) => `${path}=${uuid}`));
    expect(readFileSync(output).equals(arrayContent(set))).toBe(true);
    for (const { index, path } of images) expect(readFileSync(path).equals(memberImage(set, index))).toBe(true);
  });
});

it('a volume is served over NBD until the program is interrupted', async () => {
  const child = spawn(process.execPath, [join(examples, 'serve-over-nbd.mjs'), join(folder, 'nbd.sock')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [uri] = (await once(child.stdout, 'data')) as [Buffer];
    const { stdout } = await promisify(execFile)('nbdinfo', ['--size', uri.toString().trim()]);
    expect(Number(stdout)).toBe(64 << 20);
    child.kill('SIGINT');
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(0);
  } finally {
    child.kill('SIGKILL');
  }
});
