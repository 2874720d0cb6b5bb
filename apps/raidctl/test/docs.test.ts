import { chmodSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import type { Command } from 'commander';
import { hasCommands } from '../../daemon/test/support/process.js';
import { document } from '../src/documents.js';
import { makeProgram } from '../src/run.js';
import { bench, environment, onTerminal, shellCommand } from './support/raidctl.js';
import { makeAlike, replayConsole } from './support/transcript.js';

/*
 * The documents about raidctl say what it does. With RAIDCTL_WRITE_DOCS=1 they are made to.
 */

const page = new URL('../../../docs/raidctl.md', import.meta.url);
const readme = new URL('../../../README.md', import.meta.url);
const schemaFile = new URL('../../../docs/raidctl.schema.json', import.meta.url);
const isWriting = process.env.RAIDCTL_WRITE_DOCS === '1';
const test = bench();

const guides = ['disk-died', 'disk-came-back', 'replace-and-grow', 'move-disks', 'lost-superblocks', 'migrate-from-spdk'];

it
  .skipIf(!hasCommands('script', 'nbdcopy'))
  .each([
    ['docs/raidctl.md', page],
    ['README.md', readme],
    ...guides.map((name): [string, URL] => [
      `docs/guides/${name}.md`,
      new URL(`../../../docs/guides/${name}.md`, import.meta.url),
    ]),
  ])('%s shows what a terminal shows', async (_name, file) => {
  for (const left of readdirSync(test.folder)) {
    if (!left.endsWith('.sock')) rmSync(join(test.folder, left), { recursive: true });
  }
  const bin = join(test.folder, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'raidctl'), `#!/bin/sh\nexec ${shellCommand('"$@"')}\n`);
  chmodSync(join(bin, 'raidctl'), 0o755);
  const env = environment(test.socket, { NO_COLOR: '1', PATH: `${bin}:${process.env.PATH ?? ''}` });
  const alike = makeAlike(test.folder);
  const text = readFileSync(file, 'utf8');
  const shown = await replayConsole(text, async (line, entry) => {
    const answer = /\[y\/N\] (\w+)/.exec(entry)?.[1] ?? '';
    return alike((await onTerminal(line, test.folder, env, answer)).stdout);
  });
  if (isWriting) writeFileSync(file, shown);
  else expect(shown).toBe(text);
});

it('docs/raidctl.md lists every command', () => {
  const text = readFileSync(page, 'utf8');
  const names = (command: Command, before: string): string[] =>
    command.commands.flatMap((one) => {
      const name = `${before} ${one.name()}`;
      return one.commands.length === 0 ? [name] : names(one, name);
    });
  for (const name of names(
    makeProgram(() => Promise.resolve()),
    'raidctl',
  )) {
    if (name !== 'raidctl complete') expect(text).toMatch(new RegExp(`\`${name}[\` ]`));
  }
});

it('docs/raidctl.schema.json describes the documents of --json', () => {
  const schema = `${JSON.stringify(z.toJSONSchema(document), null, 2)}\n`;
  if (isWriting) writeFileSync(schemaFile, schema);
  else expect(readFileSync(schemaFile, 'utf8')).toBe(schema);
});
