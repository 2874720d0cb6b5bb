import { chmodSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import type { Command } from 'commander';
import { makeCommand } from '../../daemon/src/cli.js';
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
const test = bench((folder) => {
  writeFileSync(join(folder, 'http-token'), 'a-token-of-the-tests\n', { mode: 0o600 });
  return ['--http', `unix:${join(folder, 'http.sock')}`, '--http-token-file', join(folder, 'http-token')];
});
/** What the daemon has in its folder; everything else is gone when a document begins. */
const isDaemons = (file: string): boolean => file.endsWith('.sock') || file === 'http-token';

const guides = [
  'disk-died',
  'two-failures',
  'disk-came-back',
  'replace-and-grow',
  'move-disks',
  'lost-superblocks',
  'migrate-from-spdk',
  'monitor',
  'dashboard',
];

it
  .skipIf(!hasCommands('script', 'nbdcopy', 'curl', 'jq'))
  .each([
    ['docs/raidctl.md', page],
    ['README.md', readme],
    ...guides.map((name): [string, URL] => [
      `docs/guides/${name}.md`,
      new URL(`../../../docs/guides/${name}.md`, import.meta.url),
    ]),
  ])('%s shows what a terminal shows', async (_name, file) => {
  for (const left of readdirSync(test.folder)) {
    if (!isDaemons(left)) rmSync(join(test.folder, left), { recursive: true });
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

/** Commands in the guides that no test types as they are: where what they do is tested, or what they would need. */
const elsewhere: readonly (readonly [RegExp, string])[] = [
  [/^npm ci && npx turbo run build$/, '.ci/run'],
  [/^node packaging\/build-deb\.mjs |^sudo apt install \.\/out\/raidkit_/, 'test/debian-package.test.ts'],
  [
    /^(npm create @raidkit\/level|cd acme-stripe|npm run try|npx raidkit-testkit) /,
    'test/packages.test.ts, from an empty folder',
  ],
  [/^docker /, 'test/container-image.test.ts, without a container engine'],
  [/^raidctl selftest$/, 'first-hour.test.ts'],
  [/^raidctl create --integrity raid1 vol /, 'commands.test.ts'],
  [/^raidctl integrity (enable|disable) /, 'commands.test.ts'],
  [/^(ls -l|sudo (raidctl|mkfs\.ext4|mount|umount|systemctl)) /, 'disks, the nbd module and systemd of a machine of their own'],
  [/^nbdinfo 'nbds:/, 'apps/daemon/test/tls.test.ts'],
  [/^(install -m 600|openssl rand|ssh -L|dd if=)/, 'nothing of ours'],
];

it('every command of the guides is typed by a test, or its place is known', () => {
  const folder = new URL('../../../docs/guides/', import.meta.url);
  const typed = new Set([...guides, 'first-hour'].map((name) => `${name}.md`));
  const unknown: string[] = [];
  for (const file of readdirSync(folder)) {
    const text = readFileSync(new URL(file, folder), 'utf8');
    if (text.includes('```console')) expect(typed).toContain(file);
    const blocks = text.replaceAll(/^```[^]*?^```$/gm, '').matchAll(/^\n(?: {4}\S.*\n)(?: {4}.*\n)*/gm);
    for (const line of [...blocks].flatMap(([block]) => block.replaceAll(/\\\n */g, '').split('\n'))) {
      const command = line.trim();
      if (command === '' || /^(\[\w+\]|\w+=.*)$/.test(command)) continue; // A file's content.
      const [program, ...options] = command.split(' ');
      // The daemon is started with these options.
      if (program === 'raidkitd') makeCommand('0').exitOverride().parse(options, { from: 'user' });
      else if (!elsewhere.some(([pattern]) => pattern.test(command))) unknown.push(`${file}: ${command}`);
    }
  }
  expect(unknown).toEqual([]);
});

it('documents give npx the names of packages that are ours', () => {
  const root = new URL('../../../', import.meta.url);
  const pages = ['README.md', 'apps/daemon/README.md', 'apps/raidctl/README.md', 'packages/client/README.md'];
  for (const entry of readdirSync(new URL('docs', root), { recursive: true, encoding: 'utf8' }))
    if (entry.endsWith('.md')) pages.push(`docs/${entry}`);
  const offers = pages.filter((file) => /^ {4}npx raid(kitd|ctl)\b/m.test(readFileSync(new URL(file, root), 'utf8')));
  expect(offers).toEqual([]);
});

it('README.md lists every option of the daemon', () => {
  const text = readFileSync(readme, 'utf8');
  const options = makeCommand('0').createHelp().visibleOptions(makeCommand('0'));
  const missing = options.filter(({ long }) => !new RegExp(`\`(-\\w, )?${long}[\` ]`).test(text)).map(({ long }) => long);
  expect(missing).toEqual(['--version', '--help']);
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
