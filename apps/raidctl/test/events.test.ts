import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFile } from '../../daemon/test/support/files.js';
import { spawnDaemon } from '../../daemon/test/support/process.js';
import { bench } from './support/raidctl.js';

const test = bench();

function disks(...names: string[]): void {
  for (const name of names) makeFile(join(test.folder, name), 16 << 20);
}

it('shows what has happened, to all arrays or to some, and goes on as more happens', async () => {
  disks('a', 'b', 'c', 'd');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('create raid1 other ./c ./d');
  const all = (await test.json('events', 'events')).events;
  expect(all.filter(({ event }) => event === 'NewArray')).toMatchObject([{ array: 'vol' }, { array: 'other' }]);
  const last = all.at(-1)?.id ?? 0;

  const following = test.run('events', 'vol', '--follow', '--since', String(last), '--count', '1', '--json');
  await test.ok('remove other c --yes');
  await test.ok('remove vol b --yes');
  const { code, stdout } = await following;
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    command: 'events',
    events: [{ event: 'DeviceRemoved', severity: 'warning', array: 'vol', device: 'b' }],
  });
  expect(await test.ok(`events vol --since ${last}`)).toMatch(
    /DeviceRemoved +b \(slot 1 of array vol\).*the array is degraded/,
  );
  expect(await test.ok('events absent')).toBe('there are no events\n');
});

it('shows that nothing is checked by itself, or when it is', async () => {
  expect(await test.json('schedule', 'schedule')).toMatchObject({ is_enabled: false, arrays: [] });
  disks('a', 'b');
  const socket = join(test.folder, 'third.sock');
  const daemon = await spawnDaemon(socket, ['-r', socket, '--memory', '64', '--check-every', '--check-window', '01:00-05:00']);
  try {
    expect((await test.run('-s', socket, 'create', 'raid1', 'vol', './a', './b', '--force')).code).toBe(0);
    const { code, stdout } = await test.run('-s', socket, 'schedule');
    expect(code).toBe(0);
    expect(stdout).toContain('every 30 days, at 01:00-05:00');
  } finally {
    daemon.client.close();
    daemon.child.kill('SIGKILL');
    await daemon.exited;
  }
});

it('sends a test message, and says who has taken it', async () => {
  expect(await test.ok('selftest')).toContain('has no receiver of events');
  const path = join(test.folder, 'hook');
  writeFileSync(path, '#!/bin/sh\ntest "$RAIDKIT_MESSAGE" = fine\n');
  chmodSync(path, 0o755);
  const socket = join(test.folder, 'second.sock');
  const daemon = await spawnDaemon(socket, ['-r', socket, '--memory', '64', '--event-program', path]);
  try {
    const good = await test.run('-s', socket, 'selftest', '--message', 'fine', '--json');
    expect(JSON.parse(good.stdout)).toMatchObject({ sinks: [{ name: 'program', where: path, result: 'told', error: null }] });
    expect(good.code).toBe(0);
    const bad = await test.run('-s', socket, 'selftest', '--message', 'bad');
    expect(bad.stdout).toMatch(/program .* failed: .*ended with code 1/);
    expect(bad.code).toBe(1);
  } finally {
    daemon.client.close();
    daemon.child.kill('SIGKILL');
    await daemon.exited;
  }
});
