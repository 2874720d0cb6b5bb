import { createHmac } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { says, until } from './support/devices.js';
import { makeFile } from './support/files.js';
import { oneDaemon } from './support/one-daemon.js';
import { run } from './support/process.js';

const test = oneDaemon();
const base = ['--memory', '64'];

interface Event_ {
  id: number;
  event: string;
  severity: string;
  array: string | null;
  device: string | null;
  message: string;
}

interface SinkState {
  name: string;
  told: number;
  dropped: number;
}

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

async function eventsOf(params: { since?: number; wait_ms?: number; max?: number } = {}): Promise<Event_[]> {
  return ((await call('raidkit_get_events', params)) as { events: Event_[] }).events;
}

async function namesOf(): Promise<string[]> {
  return (await eventsOf()).map(({ event }) => event);
}

/** A program of the test's own, in its folder. */
function script(name: string, text: string): string {
  const path = join(test.folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Without superblocks there is no map of what was written: background work goes everywhere. */
async function makeMirror(...members: (string | null)[]): Promise<void> {
  for (const name of members) {
    if (name !== null) await call('bdev_malloc_create', { name, num_blocks: 16_384, block_size: 512 });
  }
  const [first] = members;
  await call('bdev_error_create', { base_name: first });
  const names = members.map((name) => (name === first ? `EE_${String(name)}` : name));
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: names });
}

/** Makes the first member of a mirror fail, as a disk does. */
async function failFirst(): Promise<void> {
  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'all', error_type: 'failure', num: 1000 });
  // The failure is detected by a read.
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  await until('the member has failed', async () => (await namesOf()).includes('Fail'));
}

const servers: Server[] = [];

/** Answers with these codes, one after another, and the last one from then on; 0: never. */
async function webhook(...codes: number[]): Promise<{ url: string; posts: { body: string; signature: unknown }[] }> {
  const posts: { body: string; signature: unknown }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      posts.push({ body, signature: request.headers['x-raidkit-signature'] });
      const code = codes.length > 1 ? codes.shift() : codes[0];
      if (code !== 0) response.writeHead(code ?? 200).end();
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/services/secret?token=secret`, posts };
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

it('tells a program, a webhook and a mail address of a member that fails and of the spare that takes its place', async () => {
  const { posts, url } = await webhook(503, 204);
  const told = join(test.folder, 'told');
  const key = join(test.folder, 'key');
  writeFileSync(key, 'a key of more than sixteen bytes\n', { mode: 0o600 });
  await test.start([
    ...base,
    ...['--event-program', script('hook', `echo "$#:$1:$2:$3:$RAIDKIT_SEVERITY" >> '${told}'`)],
    ...['--event-webhook', url, '--event-webhook-key', key],
    ...['--event-mail', 'root@example.org', '--event-sendmail', script('sendmail', `cat > '${test.folder}'/mail.$$`)],
  ]);
  await makeMirror('a', 'b');
  await call('bdev_malloc_create', { name: 'c', num_blocks: 16_384, block_size: 512 });
  await call('raidkit_add_spare', { bdev_name: 'c' });
  await failFirst();
  const all = ['NewArray', 'RebuildStarted', 'Fail', 'MoveSpare', 'RebuildFinished', 'SpareActive', 'ArrayOptimal'];
  await until('the spare is active', async () => {
    const names = await namesOf();
    return all.every((name) => names.includes(name));
  });

  const events = await eventsOf();
  expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => index + 1));
  const names = events.map(({ event }) => event);
  const failed = events.find(({ event }) => event === 'Fail');
  expect(failed).toMatchObject({ severity: 'critical', array: 'vol', device: 'EE_a' });
  expect(failed?.message).toContain('the array is degraded');
  await says(test.daemon!, /"level":50[^\n]*"event":"Fail"[^\n]*the array is degraded/);

  // Other events may follow these at any time, so only the first ones of each sink are compared.
  const mailed = events.filter(({ severity }) => severity !== 'info');
  const wanted: Record<string, number> = { program: events.length, webhook: events.length, mail: mailed.length };
  const sinks = async (): Promise<SinkState[]> => (await call('raidkit_get_event_sinks')) as SinkState[];
  await until('all have been told', async () => (await sinks()).every(({ name, told }) => told >= wanted[name]!));
  expect((await sinks()).map(({ dropped, name }) => [name, dropped])).toEqual([
    ['program', 0],
    ['webhook', 0],
    ['mail', 0],
  ]);
  const lines = readFileSync(told, 'utf8').split('\n').slice(0, events.length);
  expect(lines.map((line) => line.split(':')[1])).toEqual(names);
  expect(lines).toContain('3:Fail:vol:EE_a:critical');
  expect(lines).toContain('2:NewArray:vol::info');
  // The first delivery was refused, and was tried again.
  expect(posts[1]?.body).toBe(posts[0]?.body);
  for (const { body, signature } of posts) {
    const hmac = createHmac('sha256', 'a key of more than sixteen bytes').update(body).digest('hex');
    expect(signature).toBe(`sha256=${hmac}`);
  }
  expect(posts.slice(1, events.length + 1).map(({ body }) => (JSON.parse(body) as Event_).event)).toEqual(names);
  const mails = readdirSync(test.folder)
    .filter((name) => name.startsWith('mail.'))
    .map((name) => readFileSync(join(test.folder, name), 'utf8'));
  for (const { event, severity } of mailed)
    expect(mails.filter((mail) => mail.includes(`event:    ${event} (${severity})`)).length).toBeGreaterThan(0);
  expect(mails.join('\n')).not.toContain('(info)');
  expect(mails.find((mail) => /^Subject: raidkit: Fail on array vol/m.test(mail))).toMatch(/^To: root@example.org$/m);
});

describe('a sink that does not listen', () => {
  it('keeps nothing waiting: neither calls, nor other sinks, nor the stop', async () => {
    const { posts, url } = await webhook(0);
    const started = join(test.folder, 'started');
    const program = script('hook', `sleep 600 &\necho $! > '${started}'\nwait`);
    const mailed = join(test.folder, 'mailed');
    const sendmail = script('sendmail', `cat >> '${mailed}'`);
    const told = ['--event-program', program, '--event-webhook', url, '--event-mail', 'root', '--event-sendmail', sendmail];
    const daemon = await test.start([...base, ...told]);
    for (let count = 0; count < 300; count++) await call('raidkit_send_test_event', {});
    await until('the program hangs, and so does the server', () => existsSync(started) && posts.length > 0);
    await until('mail has been sent', () => existsSync(mailed));
    const sinks = (await call('raidkit_get_event_sinks')) as { waiting: number; dropped: number }[];
    // The newest are kept.
    expect(sinks[0]).toMatchObject({ waiting: 257, dropped: 43 });
    daemon.child.kill('SIGTERM');
    expect(await daemon.exited).toBe(0);
    const pid = readFileSync(started, 'utf8').trim();
    await until('what it had started is gone', () => !existsSync(`/proc/${pid}`) || isZombie(pid));
  });

  it('is given up, with what it said in the log, when it refuses', async () => {
    const { url } = await webhook(404);
    const program = script('hook', 'echo "no pager" >&2; exit 3');
    const daemon = await test.start([...base, '--event-program', program, '--event-webhook', url]);
    await call('raidkit_send_test_event', { message: 'one' });
    await until('both have refused', async () => {
      const sinks = (await call('raidkit_get_event_sinks')) as { dropped: number }[];
      return sinks.every(({ dropped }) => dropped === 1);
    });
    await says(daemon, 'ended with code 3: no pager');
    await says(daemon, 'the answer was 404');
    // A user who has the whole address of a webhook can write there.
    expect(daemon.stderr).not.toContain('secret');
    expect(JSON.stringify(await call('raidkit_get_event_sinks'))).not.toContain('secret');
  });
});

function isZombie(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true;
  }
}

it('says that an array comes up degraded, in an event and, as a warning, in the log; and says it again', async () => {
  const disk = join(test.folder, 'disk');
  makeFile(disk, 16 << 20);
  await test.start(base);
  await call('bdev_aio_create', { name: 'd', filename: disk, block_size: 512 });
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['d', null], superblock: true });
  test.daemon!.client.close();
  test.daemon!.child.kill('SIGKILL');
  await test.daemon!.exited;
  // The wait is a tenth of a second.
  const daemon = await test.start([...base, '--scan', disk, '--remind', '0.00003']);
  await until('it is told twice', async () => (await namesOf()).filter((name) => name === 'DegradedArray').length > 1);
  const [first, second] = (await eventsOf()).filter(({ event }) => event === 'DegradedArray');
  expect(first).toMatchObject({ severity: 'warning', array: 'vol' });
  expect(first?.message).toMatch(/degraded: it is online without slot 1/);
  expect(second?.message).toMatch(/degraded: it still runs without slot 1/);
  await says(daemon, /"level":40[^\n]*"event":"DegradedArray"[^\n]*degraded/);
  await call('raidkit_stop', { name: 'vol' });
  expect((await eventsOf()).at(-1)).toMatchObject({ event: 'DeviceDisappeared', array: 'vol' });
});

it('tells how far a rebuild is, and that a member was taken out', async () => {
  await test.start(base);
  await makeMirror('a', 'b');
  await call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 3 });
  await call('bdev_raid_remove_base_bdev', { name: 'b' });
  await call('bdev_malloc_create', { name: 'c', num_blocks: 16_384, block_size: 512 });
  await call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: 'c' });
  await until('the rebuild has ended', async () => (await namesOf()).includes('RebuildFinished'));
  const events = await eventsOf();
  expect(events.find(({ event }) => event === 'DeviceRemoved')).toMatchObject({ severity: 'warning', device: 'b' });
  const progress = events.filter(({ event }) => /^Rebuild\d+$/.test(event)).map(({ event }) => event);
  expect(progress.length).toBeGreaterThan(0);
  expect(['Rebuild20', 'Rebuild40', 'Rebuild60', 'Rebuild80']).toEqual(expect.arrayContaining(progress));
});

it('calls no array degraded whose slot goes with its member', async () => {
  await test.start(base);
  for (const name of ['a', 'b', 'c']) await call('bdev_malloc_create', { name, num_blocks: 16_384, block_size: 512 });
  await call('bdev_raid_create', { name: 'vol', raid_level: 'raid1', base_bdevs: ['a', 'b', 'c'], superblock: true });
  await call('raidkit_remove_slot', { name: 'vol', member: 'b' });
  const events = await eventsOf();
  expect(events.find(({ event }) => event === 'DeviceRemoved')).toMatchObject({
    device: 'b',
    message: 'b (slot 1 of array vol) has been removed: its slot is removed on request',
  });
});

it('answers a call that waits for events when there is one, when the time is over, and when the daemon ends', async () => {
  const daemon = await test.start(base);
  const waiting = eventsOf({ wait_ms: 60_000 });
  await call('raidkit_send_test_event', { message: 'hello' });
  expect(await waiting).toMatchObject([{ id: 1, event: 'TestMessage', message: 'hello' }]);
  expect(await eventsOf({ since: 1, wait_ms: 10 })).toEqual([]);
  await call('raidkit_send_test_event', { message: 'again' });
  expect(await eventsOf({ max: 1 })).toMatchObject([{ id: 1 }]);
  const last = eventsOf({ since: 2, wait_ms: 60_000 });
  daemon.child.kill('SIGTERM');
  expect(await last).toEqual([]);
  expect(await daemon.exited).toBe(0);
});

it.each([
  [['--event-webhook', 'ftp://host/'], 'must be an http: or https: URL'],
  [['--event-program', 'hook'], 'must be an absolute path'],
  [['--event-webhook', 'http://host/', '--event-webhook-key', '/nowhere'], 'cannot be read'],
  [['--event-webhook', 'http://host/', '--event-webhook-key', '/etc/passwd'], 'every user can read /etc/passwd'],
])('refuses %s', async (args, why) => {
  const { code, stderr } = await run(process.execPath, [join(import.meta.dirname, '../bin/raidkitd.js'), ...args]);
  expect(code).toBe(1);
  expect(stderr).toContain(why);
});
