import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Exposition } from '../src/monitor/exposition.js';
import { connectSocket } from '../../../packages/nbd/test/socket-client.js';
import { until } from './support/devices.js';
import { oneDaemon } from './support/one-daemon.js';
import { run } from './support/process.js';

const test = oneDaemon();
const bin = join(import.meta.dirname, '../bin/raidkitd.js');
const monitoring = new URL('../../../monitoring/', import.meta.url);

function call(method: string, params?: unknown): Promise<unknown> {
  return test.daemon!.client.call(method, params);
}

interface Answer {
  status: number;
  type: string | undefined;
  body: string;
}

/** Asks at the socket in the test's folder. */
function get(path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: join(test.folder, 'http.sock'), path, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (piece: Buffer) => (body += piece.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'], body }));
    });
    asked.on('error', reject);
    asked.end();
  });
}

interface Family {
  type: string;
  help: string;
  samples: Map<string, number>;
}

/** Reads Prometheus' text format as strictly as its own tool; throws at what it would complain of. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  const wrong = (line: string): Error => new Error(`not as it should be: ${line}`);
  let current: [string, Family] | undefined;
  for (const line of text.trimEnd().split('\n')) {
    const [, word, about = '', rest = ''] = /^# (HELP|TYPE) ([a-z][a-z0-9_]*) (.+)$/.exec(line) ?? [];
    if (word === 'HELP') {
      if (families.has(about)) throw wrong(line);
      current = [about, { type: '', help: rest, samples: new Map() }];
      families.set(...current);
    } else if (word === 'TYPE') {
      if (current?.[0] !== about || !['counter', 'gauge', 'histogram'].includes(rest)) throw wrong(line);
      current[1].type = rest;
      if ((rest === 'counter') !== about.endsWith('_total')) throw wrong(line);
    } else {
      const [, name = '', labels = '', value = ''] =
        /^([a-z][a-z0-9_]*)((?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (\S+)$/.exec(line) ?? [];
      if (current === undefined || current[1].type === '') throw wrong(line);
      const base = current[1].type === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name;
      const number = value === '+Inf' ? Infinity : Number(value);
      if (base !== current[0] || value === '' || Number.isNaN(number)) throw wrong(line);
      const key = `${name}${labels}`;
      if (current[1].samples.has(key)) throw new Error(`it is there twice: ${line}`);
      current[1].samples.set(key, number);
    }
  }
  return families;
}

/** Units that Prometheus has a base unit for, and how names abbreviate units. */
const otherUnits =
  /(^|_)(ms|sec|secs|us|ns|min|minutes|hours|days|milliseconds|microseconds|nanoseconds|kb|mb|gb|kib|mib|gib|kilobytes|megabytes|bits|blocks_bytes|percent|fahrenheit|kelvin)(_|$)/;
const baseUnits = ['seconds', 'bytes', 'celsius', 'ratio', 'volts', 'amperes', 'joules', 'grams', 'meters'];

/**
 * What `promtool check metrics` says of a family, beside what {@link parse} throws at (HELP before TYPE and once, counters and they
 * alone end in `_total`, no series twice, labels escaped): its linter's rules, since no package for Node keeps them.
 */
function complaints(name: string, { help, samples, type }: Family): string[] {
  const found: string[] = [];
  if (help.trim() === '') found.push('no help');
  if (type !== 'histogram' && /_(bucket|count|sum)$/.test(name)) found.push('ends as a part of a histogram');
  if (/(^|_)(counter|gauge|histogram|summary|metric)(_|$)/.test(name)) found.push('has its type in its name');
  if (otherUnits.test(name)) found.push('is in no base unit, or abbreviates it');
  const words = name.replace(/_total$/, '').split('_');
  // Bytes a second are a rate of the unit: it stands before `per`.
  const unit = words.findIndex((word) => baseUnits.includes(word));
  if (unit >= 0 && unit !== words.length - 1 && words[unit + 1] !== 'per') found.push('has its unit in the middle');
  if (type !== 'histogram' && [...samples.keys()].some((key) => /[{,](le|quantile)=/.test(key)))
    found.push('has a label of histograms');
  const edges = new Map<string, [number, number][]>();
  for (const [key, count] of samples) {
    const edge = /^(.*[{,])le="([^"]*)"\}$/.exec(key);
    if (edge === null || type !== 'histogram') continue;
    const [, series = '', le = ''] = edge;
    edges.set(series, [...(edges.get(series) ?? []), [le === '+Inf' ? Infinity : Number(le), count]]);
  }
  for (const list of edges.values()) {
    if (list.at(-1)?.[0] !== Infinity) found.push('has no bucket for all');
    if (list.some(([le, count], index) => index > 0 && (le <= list[index - 1]![0] || count < list[index - 1]![1])))
      found.push('has buckets that are not in order, or do not count what is below');
  }
  return found;
}

async function scrape(): Promise<Map<string, number>> {
  const { body, status, type } = await get('/metrics');
  expect(status).toBe(200);
  expect(type).toContain('text/plain; version=0.0.4');
  const families = parse(body);
  for (const [name, family] of families) expect(complaints(name, family), name).toEqual([]);
  return new Map([...families.values()].flatMap(({ samples }) => [...samples]));
}

async function start(...args: string[]): Promise<void> {
  await test.start(['--memory', '64', '--http', `unix:${join(test.folder, 'http.sock')}`, ...args]);
}

/** A mirror without a map, so that background work goes everywhere, over a device that can be made to fail. */
async function makeMirror(name = 'vol'): Promise<void> {
  for (const device of ['a', 'b']) await call('bdev_malloc_create', { name: device, num_blocks: 16_384, block_size: 512 });
  await call('bdev_error_create', { base_name: 'a' });
  await call('bdev_raid_create', { name, raid_level: 'raid1', base_bdevs: ['EE_a', 'b'] });
}

it('shows a member that is missing, its errors, and how far the rebuild of another one is', async () => {
  await start('--nbd', `unix:${test.nbdPath}`);
  // Names may have any characters.
  const name = 'v"o\\l';
  const label = 'array="v\\"o\\\\l"';
  await makeMirror(name);
  const before = await scrape();
  expect(before.get(`raidkit_array_health{${label},health="optimal"}`)).toBe(1);
  expect(before.get(`raidkit_array_members{${label},state="current"}`)).toBe(2);
  expect(before.get(`raidkit_member_info{${label},slot="0",device="EE_a"}`)).toBe(1);
  expect(before.get('raidkit_nbd_clients{export="v\\"o\\\\l",device="v\\"o\\\\l"}')).toBe(0);

  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'all', error_type: 'failure', num: 1000 });
  await call('raidkit_start_process', { name, type: 'check' });
  await until('the member has failed', async () => {
    return (await scrape()).get(`raidkit_array_health{${label},health="degraded"}`) === 1;
  });
  const degraded = await scrape();
  expect(degraded.get(`raidkit_array_health{${label},health="optimal"}`)).toBe(0);
  expect(degraded.get(`raidkit_array_members{${label},state="failed"}`)).toBe(1);
  expect(degraded.get(`raidkit_member_in_sync{${label},slot="0"}`)).toBe(0);
  expect(degraded.get(`raidkit_member_info{${label},slot="0",device=""}`)).toBe(1);
  expect(degraded.get(`raidkit_member_read_errors_total{${label},slot="0"}`)).toBeGreaterThan(0);
  expect(degraded.get('raidkit_events_total{severity="critical"}')).toBeGreaterThan(0);

  await call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 1 });
  await call('bdev_malloc_create', { name: 'c', num_blocks: 16_384, block_size: 512 });
  await call('bdev_raid_add_base_bdev', { raid_bdev: name, base_bdev: 'c' });
  const process = `${label},process="rebuild"`;
  await until('the rebuild has got on', async () => {
    return ((await scrape()).get(`raidkit_process_done_bytes{${process}}`) ?? 0) > 0;
  });
  const rebuilding = await scrape();
  expect(rebuilding.get(`raidkit_process_size_bytes{${process}}`)).toBe(16_384 * 512);
  expect(rebuilding.get(`raidkit_process_eta_seconds{${process}}`)).toBeLessThan(60);
  expect(rebuilding.get(`raidkit_array_members{${label},state="rebuilding"}`)).toBe(1);
  const writes = { device: 'c', count: 'raidkit_device_latency_seconds_count{device="c",role="member",operation="write"}' };
  expect(rebuilding.get(writes.count)).toBeGreaterThan(0);
  expect(rebuilding.get(writes.count)).toBe(
    rebuilding.get('raidkit_device_latency_seconds_bucket{device="c",role="member",operation="write",le="+Inf"}'),
  );
});

it('shows what each reactor has to do', async () => {
  await start('--nbd', `unix:${test.nbdPath}`, '--engine', 'uring', '--reactors', '2');
  for (const reactor of [0, 1]) {
    const name = `m${reactor}`;
    await call('bdev_malloc_create', { name, num_blocks: 64, block_size: 512, reactor });
    await call('raidkit_nbd_export', { bdev_name: name });
  }
  const { client, socket } = await connectSocket({ unix: test.nbdPath });
  await client.open('m1');
  await client.pwrite(0, Buffer.alloc(4096, 1));
  for (let i = 0; i < 3; i++) await client.pread(0, 1024);
  const shown = await scrape();
  const of = (metric: string, labels = ''): number[] =>
    [0, 1].map((reactor) => shown.get(`raidkit_reactor_${metric}{reactor="${reactor}"${labels}}`) ?? NaN);
  expect(of('requests_total', ',type="read"')).toEqual([0, 3]);
  expect(of('requests_total', ',type="write"')).toEqual([0, 1]);
  expect([of('read_bytes_total'), of('written_bytes_total')]).toEqual([
    [0, 3072],
    [0, 4096],
  ]);
  expect(of('connections')).toEqual([0, 1]);
  for (const seconds of [...of('awake_seconds_total'), ...of('asleep_seconds_total')]) expect(seconds).toBeGreaterThan(0);
  // Counters of an export are kept after its removal.
  socket.destroy();
  await call('raidkit_nbd_unexport', { name: 'm1' });
  expect((await scrape()).get('raidkit_reactor_read_bytes_total{reactor="1"}')).toBe(3072);
});

it('has every metric that the alerts and the dashboard use', async () => {
  await start('--event-program', '/bin/true');
  await makeMirror();
  await call('bdev_raid_set_options', { process_max_bandwidth_mb_sec: 1 });
  await call('raidkit_start_process', { name: 'vol', type: 'check' });
  const families = parse((await get('/metrics')).body);
  const known = (name: string): boolean => families.has(name.replace(/_(bucket|sum|count)$/, '')) || families.has(name);
  for (const file of ['alerts.yml', 'dashboard.json']) {
    const text = readFileSync(new URL(file, monitoring), 'utf8');
    const names = [...new Set(text.match(/\braidkit_[a-z_]+/g) ?? [])];
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !known(name))).toEqual([]);
  }
  // The documentation has every metric.
  const page = readFileSync(new URL('../docs/monitoring.md', monitoring), 'utf8');
  expect([...families.keys()].filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});

it('is healthy while it waits to be set up, and ready when it is up', async () => {
  await start('--wait-for-rpc');
  expect(await get('/healthz')).toMatchObject({ status: 200 });
  expect(await get('/readyz')).toMatchObject({ status: 503, body: expect.stringContaining('it is starting') as string });
  expect((await scrape()).get('raidkit_ready')).toBe(0);
  await call('framework_start_init');
  await call('framework_wait_init');
  expect(await get('/readyz')).toMatchObject({ status: 200, type: 'application/json' });
  expect((await scrape()).get('raidkit_ready')).toBe(1);
  expect(await get('/nothing')).toMatchObject({ status: 404 });
  expect(await get('/metrics', 'POST')).toMatchObject({ status: 405 });
  expect(await get('/metrics', 'HEAD')).toMatchObject({ status: 200, body: '' });
  // A client that says nothing does not keep it from ending.
  const silent = request({ socketPath: join(test.folder, 'http.sock'), path: '/metrics', method: 'POST', agent: false });
  silent.on('error', () => undefined);
  silent.flushHeaders();
  test.daemon!.child.kill('SIGTERM');
  expect(await test.daemon!.exited).toBe(0);
});

it('is healthy while a device is waited for', async () => {
  await start('--nbd', `unix:${test.nbdPath}`);
  await call('bdev_malloc_create', { name: 'a', num_blocks: 16_384, block_size: 512 });
  await call('bdev_error_create', { base_name: 'a' });
  await call('bdev_error_inject_error', { name: 'EE_a', io_type: 'read', error_type: 'pending', num: 100 });
  // It is answered when it is known whether the volume carries a superblock: when what reads it has given up.
  const params = { name: 'vol', raid_level: 'raid0', strip_size_kb: 64, base_bdevs: ['EE_a'] };
  call('bdev_raid_create', params).catch(() => undefined);
  const isThere = async (): Promise<boolean> =>
    JSON.stringify(await call('framework_get_config', { name: 'bdev' })).includes('bdev_raid_create');
  await until('the volume is there', isThere);
  expect(await get('/healthz')).toMatchObject({ status: 200 });
  expect((await scrape()).get('raidkit_stuck')).toBe(0);
});

it('is not shown to other machines unless the operator wants that', async () => {
  const { code, stderr } = await run(process.execPath, [bin, '--http', '0.0.0.0:0']);
  expect(code).toBe(1);
  expect(stderr).toContain('--http-public');
});

describe('the format', () => {
  it.each([
    ['a_bytes', 'gauge', ' ', {}, 'no help'],
    ['a_count', 'gauge', 'Help.', {}, 'part of a histogram'],
    ['a_gauge', 'gauge', 'Help.', {}, 'its type'],
    ['a_ms', 'gauge', 'Help.', {}, 'base unit'],
    ['a_read_kib_total', 'counter', 'Help.', {}, 'base unit'],
    ['a_seconds_spent', 'gauge', 'Help.', {}, 'in the middle'],
    ['a_b', 'gauge', 'Help.', { 'a_b{le="1"}': 1 }, 'label of histograms'],
    ['a_seconds', 'histogram', 'Help.', { 'a_seconds_bucket{le="1"}': 1 }, 'bucket for all'],
    ['a_seconds', 'histogram', 'Help.', { 'a_seconds_bucket{le="1"}': 2, 'a_seconds_bucket{le="+Inf"}': 1 }, 'not in order'],
  ])('of %s (%s, help %j) is told from one that promtool would take', (name, type, help, samples, complaint) => {
    const family = { type, help, samples: new Map(Object.entries<number>(samples)) };
    expect(complaints(name, family)).toEqual([expect.stringContaining(complaint)]);
  });

  it.each([
    '# HELP a Help.\n# TYPE a gauge\n# HELP a Help.\n# TYPE a gauge\na 1\n',
    '# TYPE a gauge\na 1\n',
    '# HELP a Help.\na 1\n',
    '# HELP a Help.\n# TYPE a counter\na 1\n',
    '# HELP a_total Help.\n# TYPE a_total gauge\na_total 1\n',
    '# HELP a Help.\n# TYPE a gauge\na 1\na 2\n',
    '# HELP a Help.\n# TYPE a gauge\na{b="c"} 1\na{b="c"} 1\n',
    '# HELP a Help.\n# TYPE a gauge\nb 1\n',
    '# HELP a Help.\n# TYPE a gauge\na{b="\\x"} 1\n',
    '# HELP a Help.\n# TYPE a gauge\na{b="""} 1\n',
    '# HELP a Help.\n# TYPE a gauge\na one\n',
    '# HELP aB Help.\n# TYPE aB gauge\naB 1\n',
  ])('%j is not taken', (text) => {
    expect(() => parse(text)).toThrow();
  });

  it('counts what lies below each edge', () => {
    const out = new Exposition();
    const counted = {
      buckets: [
        [1, 2],
        [2, 3],
        [3, 4],
        [50, 1],
      ] as [number, number][],
      sum: 71,
    };
    out.histogram('h_seconds', 'Help.', [1, 2, 4], [[{ a: 'x\ny' }, counted]]);
    const labels = 'a="x\\ny"';
    expect(out.text.split('\n').slice(2, -1)).toEqual([
      `h_seconds_bucket{${labels},le="1"} 2`,
      `h_seconds_bucket{${labels},le="2"} 5`,
      `h_seconds_bucket{${labels},le="4"} 9`,
      `h_seconds_bucket{${labels},le="+Inf"} 10`,
      `h_seconds_sum{${labels}} 71`,
      `h_seconds_count{${labels}} 10`,
    ]);
  });
});
