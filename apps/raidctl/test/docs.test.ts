import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import type { Command } from 'commander';
import { hasCommands } from '../../daemon/test/support/process.js';
import { document } from '../src/documents.js';
import { makeProgram } from '../src/run.js';
import { bench, environment, onTerminal, shellCommand } from './support/raidctl.js';

/*
 * The documents about raidctl say what it does. With RAIDCTL_WRITE_DOCS=1 they are made to.
 */

const page = new URL('../../../docs/raidctl.md', import.meta.url);
const readme = new URL('../../../README.md', import.meta.url);
const schemaFile = new URL('../../../docs/raidctl.schema.json', import.meta.url);
const isWriting = process.env.RAIDCTL_WRITE_DOCS === '1';
const test = bench();

it.skipIf(!hasCommands('script')).each([
  ['docs/raidctl.md', page],
  ['README.md', readme],
])('%s shows what a terminal shows', async (_name, file) => {
  const bin = join(test.folder, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'raidctl'), `#!/bin/sh\nexec ${shellCommand('"$@"')}\n`);
  chmodSync(join(bin, 'raidctl'), 0o755);
  const env = environment(test.socket, { NO_COLOR: '1', PATH: `${bin}:${process.env.PATH ?? ''}` });
  const alike = makeAlike();
  const text = readFileSync(file, 'utf8');
  let shown = text;
  for (const [block, body = ''] of text.matchAll(/```console\n([\s\S]*?)```/g)) {
    let now = '';
    for (const entry of body.split(/^(?=\$ )/m)) {
      const [line = ''] = entry.split('\n');
      const answer = /\[y\/N\] (\w+)/.exec(entry)?.[1] ?? '';
      const { stdout } = await onTerminal(line.slice(2), test.folder, env, answer);
      now += `${line}\n${alike(stdout)}`;
    }
    shown = shown.replace(block, () => `\`\`\`console\n${now}\`\`\``);
  }
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

/** Takes out of an output what differs from run to run, and what only a terminal needs. */
function makeAlike(): (text: string) => string {
  const uuids = new Map<string, string>();
  const uuidOf = (uuid: string): string => {
    const known = uuids.get(uuid) ?? `00000000-0000-4000-8000-${String(uuids.size + 1).padStart(12, '0')}`;
    uuids.set(uuid, known);
    return known;
  };
  return (text) =>
    text
      // eslint-disable-next-line no-control-regex -- escape sequences of terminals begin with one
      .replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
      .replaceAll('\r', '')
      .replaceAll(test.folder, '/disks')
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, uuidOf)
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z, \d+ s:/g, '2026-01-31T12:00:00.000Z, 1 s:')
      .replaceAll(/sequence {2}\d+/g, 'sequence  65536');
}
