import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFile } from '../../daemon/test/support/files.js';
import { spawnDaemon } from '../../daemon/test/support/process.js';
import type { Finding } from '../src/documents.js';
import { bench } from './support/raidctl.js';

/* What doctor says of a real daemon that is in trouble; and that the commands that it proposes help. */

const test = bench();
const MiB = 1 << 20;

function disks(...names: string[]): void {
  for (const name of names) makeFile(join(test.folder, name), 16 * MiB);
}

async function doctor(code: number, args = ''): Promise<Finding[]> {
  return (await test.json('doctor', `doctor ${args}`.trim(), code)).findings;
}

/** Types what was proposed. */
async function obey({ commands }: Finding, which = 0, args = ''): Promise<void> {
  const command = commands[which]!.replace(/^raidctl /, '');
  await test.ok(`${command} --yes ${args}`.trim());
}

const matching = (pattern: RegExp): string => expect.stringMatching(pattern) as string;

/** A daemon of the test's own, in a folder below the bench's. */
async function second(name: string, args: readonly string[], work: (socket: string) => Promise<void>): Promise<void> {
  const socket = join(test.folder, `${name}.sock`);
  const daemon = await spawnDaemon(socket, ['-r', socket, '--memory', '64', ...args], test.folder);
  try {
    await work(socket);
  } finally {
    daemon.client.close();
    daemon.child.kill('SIGTERM');
    await daemon.exited;
  }
}

it('says what can be seen from outside of a daemon that cannot be reached', async () => {
  const nowhere = join(test.folder, 'nowhere.sock');
  expect(await doctor(6, `-s ${nowhere}`)).toMatchObject([
    {
      severity: 'failed',
      what: matching(/no daemon can be reached/),
      commands: ['systemctl start raidkitd', matching(/--socket/)],
    },
  ]);
  // A server listens, and says nothing.
  const silent = join(test.folder, 'silent.sock');
  const server = createServer(() => undefined);
  await new Promise<void>((resolve) => server.listen(silent, resolve));
  expect(await doctor(6, `--timeout 0.1 -s ${silent}`)).toMatchObject([
    { action: matching(/there is no answer/), commands: ['systemctl status raidkitd', matching(/^journalctl/)] },
  ]);
  server.close();
  expect(await test.run('doctor', '-s', nowhere)).toMatchObject({ code: 6, stdout: matching(/^1\. failed: no daemon/) });
});

it('of a member that failed says how it, or another device, comes back, and that brings it back', async () => {
  disks('a', 'b');
  await test.ok('create raid1 vol ./a ./b');
  await test.ok('fail vol b --yes');
  const findings = await doctor(5);
  expect(findings).toMatchObject([
    { severity: 'degraded', array: 'vol', commands: ['raidctl add vol DEVICE'] },
    {
      severity: 'notice',
      array: 'vol',
      what: matching(/^b has the superblock of array vol/),
      commands: ['raidctl examine b', 'raidctl add vol b'],
    },
  ]);
  await obey(findings[1]!, 1, '--wait');
  expect(await doctor(0)).toEqual([]);
});

it('of an array that is offline, or waits, says what to open and whether it can start without that', async () => {
  disks('a', 'b', 'c', 'd', 'e');
  await test.ok('create raid0 vol ./a ./b');
  await test.ok('remove vol b --force');
  expect(await doctor(1)).toMatchObject([
    { severity: 'failed', array: 'vol', action: matching(/starts again automatically/), commands: ['raidctl open DEVICES'] },
  ]);
  await test.ok('open ./b');
  expect(await doctor(0)).toEqual([]);

  await test.ok('create raid5f five ./c ./d ./e');
  await test.ok('stop five');
  await test.ok('open ./c');
  const [waits] = await doctor(1);
  // One member of three is not enough.
  expect(waits).toMatchObject({ severity: 'failed', array: 'five', commands: ['raidctl open DEVICES'] });
  await test.ok('open ./d');
  const [could] = await doctor(1);
  expect(could).toMatchObject({ array: 'five', commands: ['raidctl open DEVICES', 'raidctl assemble five'] });
  await obey(could!, 1);
  expect((await doctor(5)).map(({ array, severity }) => [array, severity])).toEqual([['five', 'degraded']]);
});

it('of what a scan has found and left alone says why, and how it is started', async () => {
  const places = join(test.folder, 'found');
  mkdirSync(places);
  disks('found/x', 'found/y');
  await test.ok('create raid1 vol ./found/x ./found/y');
  await test.ok('stop vol');
  const nbd = ['--nbd', `unix:${join(test.folder, 'found.nbd')}`];
  const reader = join(test.folder, 'reader.sock');
  const read = ['--rpc-readonly', reader];
  await second('found', ['--scan', join(places, '*'), '--auto-start', 'none', ...nbd, ...read], async (socket) => {
    const findings = await doctor(0, `-s ${socket}`);
    expect(await doctor(0, `-s ${reader}`)).toEqual(findings);
    expect(findings).toMatchObject([
      {
        severity: 'notice',
        what: matching(/found\/x has the superblock of array vol/),
        commands: ['raidctl assemble vol'],
      },
      { severity: 'notice', what: matching(/found\/y/), commands: ['raidctl assemble vol'] },
    ]);
    await obey(findings[0]!, 0, `-s ${socket}`);
    expect(await doctor(0, `-s ${socket}`)).toEqual([]);
    // This file is a copy of a member.
    copyFileSync(join(places, 'y'), join(places, 'z'));
    expect(await test.ok(`rescan -s ${socket}`)).toMatch(
      /^3 devices with superblocks found, 2 of them open\n.*found\/z .*same member/,
    );
    expect(await doctor(5, `-s ${socket}`)).toMatchObject([
      { severity: 'degraded', array: 'vol', what: matching(/found\/z/), action: 'remove the copy' },
    ]);
  });
});

it('of a volume that no client can use, a check that is late, and a receiver of events that is not reached says so', async () => {
  disks('a', 'b');
  const uuid = '11111111-2222-4333-8444-555555555555';
  const open = (name: string): object => ({ method: 'bdev_aio_create', params: { name, filename: join(test.folder, name) } });
  const vol = {
    method: 'bdev_raid_create',
    params: { name: 'vol', uuid, raid_level: 'raid1', base_bdevs: ['a', 'b'], superblock: true },
  };
  const file = join(test.folder, 'late.json');
  writeFileSync(file, JSON.stringify({ subsystems: [{ subsystem: 'bdev', config: [open('a'), open('b'), vol] }] }));
  const record = { due_from: 0, completed_at: 0, mismatch_blocks: 0, next_block: null, mismatches_so_far: 0 };
  writeFileSync(join(test.folder, 'state-checks.json'), JSON.stringify({ version: 1, arrays: { [uuid]: record } }));
  const hour = (new Date().getHours() + 2) % 24;
  const args = ['-c', file, '--state', join(test.folder, 'state.json'), '--check-every', '7', '--no-auto-export'];
  await second(
    'late',
    [...args, '--check-window', `${hour}:00-${(hour + 1) % 24}:30`, '--event-program', '/bin/false'],
    async (socket) => {
      const at = `-s ${socket}`;
      expect(await test.run('selftest', ...at.split(' '))).toMatchObject({ code: 1 });
      const findings = await doctor(0, at);
      expect(findings).toMatchObject([
        { severity: 'notice', array: 'vol', what: matching(/not exported/), commands: ['raidctl export vol'] },
        { severity: 'notice', array: 'vol', what: matching(/check is late by \d+ d/), commands: ['raidctl check vol'] },
        { severity: 'notice', what: matching(/events are not delivered to the program/), commands: ['raidctl selftest'] },
      ]);
      await obey(findings[0]!, 0, at);
      await test.ok(`check vol --wait --yes ${at}`);
      expect((await doctor(0, at)).map(({ what }) => what)).toEqual([
        matching(/serves NBD at no address/),
        matching(/events are not delivered/),
      ]);
      await test.ok(`destroy vol --yes ${at}`);
    },
  );
});

it('shows no client where there is none, and looks again at what it is told to', async () => {
  expect((await test.json('clients', 'clients')).clients).toEqual([]);
  expect(await test.ok('rescan')).toContain('started without --scan');
  disks('a');
  expect(await test.run('rescan', './a')).toMatchObject({ code: 3, stderr: matching(/is not open/) });
  await test.ok('open ./a');
  // It was examined when it was opened.
  expect(await test.run('rescan', 'a')).toMatchObject({ code: 4, stderr: matching(/every bdev is examined when it appears/) });
});
