import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reactors, startTestDaemon } from './support/daemon.js';
import type { TestDaemon } from './support/daemon.js';
import { until } from './support/devices.js';

/** What today's clients of SPDK send, beyond the recorded session (transcript.test.ts). */
let test: TestDaemon;
beforeAll(async () => {
  test = await startTestDaemon();
  for (const name of ['a', 'b', 'c']) await call('bdev_malloc_create', { name, num_blocks: 8192, block_size: 512, ...last });
});
afterAll(() => test.end());

/** With several reactors some devices are on the last one. */
const last = reactors > 1 ? { reactor: reactors - 1 } : {};
const call = (method: string, params?: unknown): Promise<unknown> => test.client.call(method, params);
const names = (answer: unknown): string[] => (answer as { bdevs: { name: string }[] }).bdevs.map(({ name }) => name);

describe('batches', () => {
  const request = (id: number | null, method: string, params?: object): object => ({
    jsonrpc: '2.0',
    method,
    ...(id === null ? {} : { id }),
    ...(params === undefined ? {} : { params }),
  });

  async function batch(requests: readonly unknown[]): Promise<Record<string, unknown>[]> {
    test.client.socket.write(JSON.stringify(requests));
    const found = (): unknown => test.client.answers.find((answer) => Array.isArray(answer));
    await until('the batch is answered', () => found() !== undefined);
    return found() as Record<string, unknown>[];
  }

  it('are carried out in order, and answered as one', async () => {
    const answers = await batch([
      request(901, 'bdev_malloc_create', { name: 'n', num_blocks: 64, block_size: 512 }),
      request(902, 'bdev_passthru_create', { base_bdev_name: 'n', name: 'p' }),
      request(null, 'bdev_passthru_delete', { name: 'p' }),
      request(903, 'bdev_malloc_delete', { name: 'n' }),
      request(904, 'bdev_malloc_delete', { name: 'n' }),
      'nonsense',
    ]);
    expect(answers).toMatchObject([
      { id: 901, result: 'n' },
      { id: 902, result: 'p' },
      { id: 903, result: true },
      { id: 904, error: { code: -19 } },
      { id: null, error: { code: -32600 } },
    ]);
  });

  it('of nothing are no request', async () => {
    test.client.socket.write('[]');
    expect((await test.client.answer(null)).error).toMatchObject({ code: -32600 });
  });
});

describe('parameters of newer versions', () => {
  it('framework_get_config with_batches', async () => {
    expect(await call('framework_get_config', { name: 'bdev', with_batches: true })).toEqual(
      await call('framework_get_config', { name: 'bdev' }),
    );
  });

  it('bdev_get_iostat and bdev_reset_iostat by names, and the reset mode error', async () => {
    expect(names(await call('bdev_get_iostat', { names: ['c', 'a'] }))).toEqual(['c', 'a']);
    expect(names(await call('bdev_get_iostat', { name: 'b' }))).toEqual(['b']);
    expect(names(await call('bdev_get_iostat', { names: [] }))).toEqual(expect.arrayContaining(['a', 'b', 'c']));
    expect((await test.client.ask('bdev_get_iostat', { names: ['a', 'absent'] })).error?.code).toBe(-19);
    expect(names(await call('bdev_get_iostat', { names: ['a', 'b'], reset_mode: 'error' }))).toEqual(['a', 'b']);
    expect(await call('bdev_reset_iostat', { names: ['a', 'b'], mode: 'error' })).toBe(true);
    expect(await call('bdev_reset_iostat', { mode: 'error' })).toBe(true);
  });

  it('histograms, with their ranges', async () => {
    expect((await test.client.ask('bdev_get_histogram', { name: 'a' })).error?.code).toBe(-14);
    await call('bdev_enable_histogram', { name: 'a', enable: true, granularity: 7, min_nsec: 1000, max_nsec: 1_000_000_000 });
    await call('raidkit_examine', { bdev_name: 'a' });
    const {
      histogram,
      tsc_rate: rate,
      granularity,
    } = (await call('bdev_get_histogram', { name: 'a' })) as {
      histogram: string;
      tsc_rate: number;
      granularity: number;
    };
    const bytes = Buffer.from(histogram, 'base64');
    let count = 0n;
    for (let at = 0; at < bytes.length; at += 8) count += bytes.readBigUInt64LE(at);
    // Examining reads.
    expect(Number(count)).toBeGreaterThan(0);
    expect([rate, granularity, bytes.length]).toEqual([1_000_000_000, 7, 58 * 128 * 8]);
    await call('bdev_enable_histogram', { name: 'a', enable: false });
    expect((await test.client.ask('bdev_get_histogram', { name: 'a' })).error?.code).toBe(-14);
  });
});

describe('methods', () => {
  it('notify_get_notifications tells who has come and gone', async () => {
    expect(await call('notify_get_types')).toEqual(['bdev_register', 'bdev_unregister']);
    const all = (await call('notify_get_notifications')) as { type: string; ctx: string; id: number }[];
    const next = all.at(-1)!.id + 1;
    await call('bdev_malloc_create', { name: 'x', num_blocks: 64, block_size: 512, ...last });
    await call('bdev_malloc_delete', { name: 'x' });
    expect(await call('notify_get_notifications', { id: next })).toEqual([
      { type: 'bdev_register', ctx: 'x', id: next },
      { type: 'bdev_unregister', ctx: 'x', id: next + 1 },
    ]);
    expect(await call('notify_get_notifications', { id: next, max: 1 })).toHaveLength(1);
  });

  it('bdev_set_qos_limit limits, shows it, and is part of the configuration', async () => {
    expect((await test.client.ask('bdev_set_qos_limit', { name: 'a' })).error).toMatchObject({ code: -22 });
    expect((await test.client.ask('bdev_set_qos_limit', { name: 'absent', rw_ios_per_sec: 1000 })).error?.code).toBe(-19);
    expect(await call('bdev_set_qos_limit', { name: 'a', rw_ios_per_sec: 1500, w_mbytes_per_sec: 3 })).toBe(true);
    const limits = { rw_ios_per_sec: 2000, rw_mbytes_per_sec: 0, r_mbytes_per_sec: 0, w_mbytes_per_sec: 3 };
    expect(await call('bdev_get_bdevs', { name: 'a' })).toMatchObject([{ assigned_rate_limits: limits }]);
    expect(await call('framework_get_config', { name: 'bdev' })).toContainEqual({
      method: 'bdev_set_qos_limit',
      params: { name: 'a', ...limits },
    });
    await call('bdev_set_qos_limit', { name: 'a', rw_ios_per_sec: 0, w_mbytes_per_sec: 0 });
    expect(await call('bdev_get_bdevs', { name: 'a' })).toMatchObject([{ assigned_rate_limits: { rw_ios_per_sec: 0 } }]);
    expect(await call('raidkit_get_configuration')).toMatchObject({ pending: [] });
  });
});

/**
 * What SPDK answers to parameters that cannot be decoded, method by method, as its programs answered probes and its sources say.
 * Each has parameters that fit, so that nothing else can be what is refused.
 */
const decoded: readonly [method: string, fits: Record<string, unknown> | null, code: number, message: string][] = [
  ['bdev_raid_create', { name: 'r', raid_level: 'raid1', base_bdevs: ['x', 'y'] }, -32700, 'spdk_json_decode_object failed'],
  ['bdev_raid_delete', { name: 'r' }, -32700, 'spdk_json_decode_object failed'],
  ['bdev_raid_get_bdevs', { category: 'all' }, -32700, 'spdk_json_decode_object failed'],
  ['bdev_raid_add_base_bdev', { raid_bdev: 'r', base_bdev: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_raid_remove_base_bdev', { name: 'x' }, -32700, 'spdk_json_decode_object failed'],
  ['bdev_get_bdevs', { name: 'a' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_get_iostat', { name: 'a' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_reset_iostat', { name: 'a' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_enable_histogram', { name: 'a', enable: false }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_get_histogram', { name: 'a' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_set_qos_limit', { name: 'a', rw_ios_per_sec: 0 }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_examine', { name: 'a' }, -32602, 'spdk_json_decode_object failed'],
  ['bdev_set_options', { bdev_io_pool_size: 65_535 }, -32602, 'Invalid parameters'],
  ['bdev_malloc_create', { num_blocks: 64, block_size: 512 }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_malloc_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_null_create', { name: 'x', num_blocks: 64, block_size: 512 }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_null_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_null_resize', { name: 'x', new_size: 1 }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_aio_create', { name: 'x', filename: '/x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_aio_rescan', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_aio_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_uring_create', { name: 'x', filename: '/x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_uring_rescan', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_uring_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_passthru_create', { name: 'x', base_bdev_name: 'y' }, -32603, 'spdk_json_decode_object failed'],
  ['bdev_passthru_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  [
    'bdev_delay_create',
    {
      name: 'x',
      base_bdev_name: 'y',
      avg_read_latency: 1,
      p99_read_latency: 1,
      avg_write_latency: 1,
      p99_write_latency: 1,
    },
    -32603,
    'spdk_json_decode_object failed',
  ],
  ['bdev_delay_delete', { name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  [
    'bdev_delay_update_latency',
    { delay_bdev_name: 'x', latency_type: 'avg_read', latency_us: 1 },
    -32603,
    'spdk_json_decode_object failed',
  ],
  ['bdev_error_create', { base_name: 'x' }, -32602, 'Invalid parameters'],
  ['bdev_error_delete', { name: 'x' }, -32602, 'Invalid parameters'],
  ['bdev_error_inject_error', { name: 'x', io_type: 'read', error_type: 'failure' }, -32602, 'Invalid parameters'],
  ['bdev_error_resume_pending', { name: 'x' }, -32602, 'Invalid parameters'],
  ['nbd_start_disk', { bdev_name: 'x' }, -32603, 'spdk_json_decode_object failed'],
  ['nbd_stop_disk', { nbd_device: '/dev/x' }, -32603, 'spdk_json_decode_object failed'],
  ['nbd_get_disks', { nbd_device: '/dev/x' }, -32603, 'spdk_json_decode_object failed'],
  ['notify_get_notifications', { id: 0 }, -32602, 'Invalid parameters'],
  ['log_set_flag', { flag: 'all' }, -32603, 'spdk_json_decode_object failed'],
  ['log_clear_flag', { flag: 'all' }, -32603, 'spdk_json_decode_object failed'],
  ['log_set_print_level', { level: 'INFO' }, -32603, 'spdk_json_decode_object failed'],
  ['log_set_level', { level: 'INFO' }, -32603, 'spdk_json_decode_object failed'],
  ['log_enable_timestamps', { enabled: true }, -32602, 'spdk_json_decode_object failed'],
  ['rpc_get_methods', { current: true }, -32602, 'Invalid parameters'],
  ['framework_get_config', { name: 'bdev' }, -32602, 'Invalid parameters'],
  ['spdk_kill_instance', { sig_name: 'SIGTERM' }, -32602, 'Invalid parameters'],
  // These take none, not even an empty object.
  ...[
    'bdev_wait_for_examine',
    'framework_get_subsystems',
    'framework_wait_init',
    'log_get_flags',
    'log_get_level',
    'log_get_print_level',
    'notify_get_types',
    'spdk_get_version',
    'thread_get_stats',
  ].map((method): [string, null, number, string] => [method, null, -32602, `${method} requires no parameters`]),
];

/** Every kind of parameters that cannot be decoded, made of some that fit. */
function badKinds(fits: Record<string, unknown> | null, required: ReadonlySet<string>): [kind: string, params: unknown][] {
  if (fits === null) return [{}, { nonsense: 1 }, [], [1]].map((params) => [`parameters ${JSON.stringify(params)}`, params]);
  const wrong = (value: unknown): unknown => (typeof value === 'string' ? 1 : 'x');
  return [
    ['an unknown parameter', { ...fits, nonsense: 1 }],
    ['a list', Object.values(fits)],
    ...Object.keys(fits).flatMap((key): [string, unknown][] => {
      const { [key]: value, ...others } = fits;
      return [
        [`${key} of another type`, { ...fits, [key]: wrong(value) }],
        [`an object for ${key}`, { ...fits, [key]: {} }],
        [`null for ${key}`, { ...fits, [key]: null }],
        ...(typeof value === 'number'
          ? [-1, 1.5, 2 ** 65].map((number): [string, unknown] => [`${number} for ${key}`, { ...fits, [key]: number }])
          : []),
        ...(required.has(key) ? [[`no ${key}`, others] as [string, unknown]] : []),
      ];
    }),
  ];
}

describe('codes', () => {
  it('of parameters that cannot be decoded are SPDK’s, whatever is wrong with them, and nothing has been done', async () => {
    const { methods } = (await call('rpc.discover')) as {
      methods: { name: string; params: { name: string; required?: boolean }[] }[];
    };
    const before = await call('bdev_get_bdevs');
    const different: string[] = [];
    let count = 0;
    for (const [method, fits, code, message] of decoded) {
      const known = methods.find(({ name }) => name === method)?.params ?? [];
      const required = new Set(known.filter((param) => param.required === true).map(({ name }) => name));
      for (const [kind, params] of badKinds(fits, required)) {
        count++;
        const { error } = await test.client.ask(method, params);
        if (error?.code !== code || !error.message.startsWith(message))
          different.push(`${method}, ${kind}: ${String(error?.code)} ${error?.message ?? 'taken'}`);
      }
    }
    expect(different).toEqual([]);
    expect(count).toBeGreaterThan(229);
    expect(await call('bdev_get_bdevs')).toEqual(before);
  });

  it('every method of SPDK’s that is here is among them', async () => {
    const tried = new Set(decoded.map(([method]) => method));
    // The first is not SPDK's, but of clients that know of growing.
    const elsewhere = ['bdev_raid_grow_base_bdev', 'bdev_raid_set_options', 'framework_start_init', 'rpc.discover'];
    const all = (await call('rpc_get_methods')) as string[];
    expect(all.filter((name) => !name.startsWith('raidkit_') && !tried.has(name) && !elsewhere.includes(name))).toEqual([]);
  });

  it.each([
    ['log_set_flag', { flag: 'no such' }, -32602],
    ['log_set_print_level', { level: 'LOUD' }, -32602],
    ['spdk_kill_instance', { sig_name: 'SIGNONE' }, -32602],
    ['framework_get_config', { name: 'no such' }, -32602],
    ['bdev_enable_histogram', { name: 'a', enable: true, opc: 'no such' }, -32603],
    ['bdev_get_iostat', { name: 'a', names: ['a'] }, -22],
    ['bdev_get_iostat', { per_channel: true }, -22],
  ])('%s with %j, which can be decoded and means nothing, is answered %i', async (method, params, code) => {
    expect((await test.client.ask(method, params)).error?.code).toBe(code);
  });

  it('an unknown log flag has SPDK’s words', async () => {
    expect((await test.client.ask('log_clear_flag', { flag: 'no such' })).error).toMatchObject({
      code: -32602,
      message: 'invalid log flag',
    });
  });
});
