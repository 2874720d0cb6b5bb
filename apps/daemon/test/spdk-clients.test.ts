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

/** Of several reactors some devices are on the last one. */
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
    expect((await test.client.ask('bdev_get_iostat', { names: ['a', 'nobody'] })).error?.code).toBe(-19);
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
    expect((await test.client.ask('bdev_set_qos_limit', { name: 'nobody', rw_ios_per_sec: 1000 })).error?.code).toBe(-19);
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

describe('codes', () => {
  it.each([
    ['bdev_get_bdevs', { name: 1 }, -32603],
    ['bdev_get_iostat', { nonsense: 1 }, -32603],
    ['bdev_reset_iostat', { mode: 'some' }, -32603],
    ['bdev_enable_histogram', { name: 'a' }, -32603],
    ['log_set_print_level', {}, -32603],
    ['log_set_flag', {}, -32603],
    ['bdev_error_create', {}, -32602],
    ['bdev_error_delete', {}, -32602],
    ['bdev_error_inject_error', { name: 'a' }, -32602],
    ['bdev_examine', {}, -32602],
    ['rpc_get_methods', { nonsense: 1 }, -32602],
    ['framework_get_config', {}, -32602],
    ['log_set_flag', { flag: 'no such' }, -32602],
    ['log_set_print_level', { level: 'LOUD' }, -32602],
  ])('%s with %j is answered %i', async (method, params, code) => {
    expect((await test.client.ask(method, params)).error?.code).toBe(code);
  });

  it('an unknown log flag has SPDK’s words', async () => {
    expect((await test.client.ask('log_clear_flag', { flag: 'no such' })).error).toMatchObject({
      code: -32602,
      message: 'invalid log flag',
    });
  });
});
