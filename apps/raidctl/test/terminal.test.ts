import { join } from 'node:path';
import { defaultSocketPath } from '@raidkit/client';
import { expect, it, vi } from 'vitest';
import { defaultRpcPath } from '../../daemon/src/cli.js';
import { makeFile } from '../../daemon/test/support/files.js';
import { hasCommands } from '../../daemon/test/support/process.js';
import type { Output } from '../../daemon/test/support/process.js';
import { bench, environment, onTerminal, shellCommand } from './support/raidctl.js';

/** These run raidctl on a pseudo-terminal, which script(1) makes. */
const onPty = it.skipIf(!hasCommands('script'));
const escape = '\u001b[';
const test = bench();

const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);

function see(args: string, extra: Record<string, string> = {}, answer = ''): Promise<Output> {
  return onTerminal(shellCommand(args), test.folder, environment(test.socket, extra), answer);
}

async function makeMirror(): Promise<void> {
  for (const name of ['a', 'b']) makeFile(join(test.folder, name), 16 << 20);
  await test.ok('create raid1 vol ./a ./b');
}

onPty('has colours and box-drawing characters only on a terminal that has them', async () => {
  await makeMirror();
  await test.ok('remove vol b --yes');
  const full = await see('status');
  expect(full.code).toBe(5);
  expect(full.stdout).toContain(`${escape}33m${escape}1mDEGRADED`);
  expect(full.stdout).toContain('├─ slot 0  a');
  const plain = await see('status', { NO_COLOR: '1' });
  expect(plain.stdout).not.toContain(escape);
  expect(plain.stdout).toContain('└─ slot 1  (b)');
  const ascii = await see('status', { LANG: 'C' });
  expect(ascii.stdout).toContain(escape);
  expect(ascii.stdout).toContain('`- slot 1  (b)');
  const dumb = await see('status', { TERM: 'dumb' });
  expect(dumb.stdout).not.toContain(escape);
  expect(dumb.stdout).toContain('|- slot 0  a');
  // Without a terminal there is neither.
  const piped = await onTerminal(`${shellCommand('list')} | cat`, test.folder, environment(test.socket));
  expect(piped.stdout).not.toContain(escape);
});

onPty('folds sentences at the width of the terminal, between words alone, and nothing that is piped', async () => {
  for (const name of ['my own disk', 'b']) makeFile(join(test.folder, name), 16 << 20);
  expect(await test.run('create', 'raid1', 'a name of five words', './my own disk', './b')).toMatchObject({ code: 0 });
  expect(await test.run('remove', 'a name of five words', './my own disk', '--yes')).toMatchObject({ code: 0 });
  for (const command of ['status', 'doctor']) {
    const { stdout: piped } = await onTerminal(`${shellCommand(command)} | cat`, test.folder, environment(test.socket));
    for (const columns of [30, 44, 61]) {
      const terminal = `stty cols ${columns}; ${shellCommand(command)}`;
      const { stdout: folded } = await onTerminal(terminal, test.folder, environment(test.socket, { NO_COLOR: '1' }));
      const sentence = /^ *(?:status:|1\.) [^]*?(?=\n(?: *layout:| {5}raidctl ))/m;
      const [lines = ''] = sentence.exec(folded.replaceAll('\r', '')) ?? [];
      const [whole = ''] = sentence.exec(piped.replaceAll('\r', '')) ?? [];
      expect(lines.replaceAll(/\s+/g, ' ')).toBe(whole.replaceAll(/\s+/g, ' '));
      expect(lines).toContain('a name of five words');
      // The command is copied from one line of the output.
      if (command === 'status') expect(lines).toMatch(/raidctl add '?a name of five words'? DEVICE/);
      const tooLong = lines.split('\n').filter((line) => line.length > columns);
      expect(
        tooLong.map((line) =>
          line
            .trim()
            .replace(/raidctl .*/, 'command')
            .replace('a name of five words', 'name')
            .replace('my own disk', 'disk'),
        ),
      ).toEqual(tooLong.map(() => matching(/^\S+$/)));
      expect(lines.split('\n').length).toBeGreaterThan(whole.split('\n').length);
    }
  }
});

onPty('asks before something is lost, and does it only for a yes', async () => {
  await makeMirror();
  for (const answer of ['n', '', 'maybe']) {
    const refused = await see('destroy vol', {}, answer);
    expect(refused.code).toBe(4);
    expect(refused.stdout).toMatch(
      /warning.*: the data of array vol \([-0-9a-f]{36}\) is no longer accessible[^]*Continue\? \[y\/N\]/,
    );
    expect(refused.stdout).toContain('nothing was changed');
  }
  expect((await test.json('status', 'status')).arrays).toMatchObject([{ name: 'vol', health: 'optimal' }]);
  const done = await see('destroy vol', {}, 'y');
  expect(done).toMatchObject({ code: 0 });
  expect(done.stdout).toContain('array vol has been destroyed');
  expect((await test.json('status', 'status')).arrays).toEqual([]);
  expect((await test.json('examine', 'examine ./a ./b')).devices.map(({ superblock }) => superblock)).toEqual(['none', 'none']);
});

onPty('does not ask with --yes, and never with --json', async () => {
  await makeMirror();
  const json = await see('stop vol --json');
  expect(json.code).toBe(0);
  await test.ok('open ./a ./b');
  const refused = await see('destroy vol --json');
  expect(refused.code).toBe(4);
  expect(JSON.parse(refused.stdout)).toMatchObject({ command: 'error', error: { exit_code: 4 } });
  expect((await see('destroy vol --yes')).code).toBe(0);
});

onPty('watches in the same place of the screen, and one look after another into a file', async () => {
  await makeMirror();
  const watched = await see('status --watch 1 --count 2');
  expect(watched.code).toBe(0);
  expect(watched.stdout.split(`${escape}H${escape}2J`)).toHaveLength(3);
  const lines = (await test.ok('status --watch 1 --count 2 --json')).trimEnd().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { command: string }).command)).toEqual(['status', 'status']);
});

onPty('ends quietly when the reader has read enough', async () => {
  await makeMirror();
  const { code, stdout } = await onTerminal(
    `${shellCommand('status --watch 1')} | head -n 1`,
    test.folder,
    environment(test.socket),
  );
  expect({ code, stdout: stdout.trim() }).toEqual({ code: 0, stdout: 'array: vol' });
});

it('looks for the daemon where it listens when it is not told where', () => {
  for (const XDG_RUNTIME_DIR of [test.folder, join(test.folder, 'gone')]) {
    vi.stubEnv('XDG_RUNTIME_DIR', XDG_RUNTIME_DIR);
    expect(defaultSocketPath()).toBe(defaultRpcPath());
  }
  vi.unstubAllEnvs();
});
