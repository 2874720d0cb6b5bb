import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, expect, it } from 'vitest';
import type { TestContext } from 'vitest';

/** A directory for the test at hand; programs run in it. */
export const folder = mkdtempSync(join(tmpdir(), 'nbd-clients-'));
afterAll(() => rmSync(folder, { recursive: true }));

// nbdsh finds its modules with the system's Python only.
const path = ['/usr/bin', '/usr/sbin', '/bin', process.env.PATH ?? ''].join(delimiter);

export interface Outcome {
  code: number | null;
  out: string;
}

export function start(program: string, args: string[]): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(program, args, { cwd: folder, env: { ...process.env, PATH: path }, stdio: ['ignore', 'pipe', 'pipe'] });
}

export function run(program: string, args: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = start(program, args);
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out }));
  });
}

/** Runs a program that must succeed. */
export async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, out } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${out}`);
  return out;
}

function exists(program: string): boolean {
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** A test that needs programs. Where they are missing it is skipped, except in CI. */
export function itWith(programs: string[], title: string, test: () => Promise<void>): void {
  it(title, async (context: TestContext) => {
    const missing = programs.filter((program) => !exists(program));
    if (missing.length > 0 && process.env.CI === undefined) context.skip(`not installed: ${missing.join(', ')}`);
    expect(missing).toEqual([]);
    await test();
  });
}
