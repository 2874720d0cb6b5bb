import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Configuration } from '../src/configuration/configuration.js';
import { RpcError } from '../src/rpc/errors.js';
import { until } from './support/devices.js';

/** Devices that there are. */
let made: Set<string>;
/** Devices that are being made: each waits for its call. */
let waiting: Map<string, () => void>;
let tries: number;
let configuration: Configuration;

const refusal = (code: number): RpcError => new RpcError(code, 'refused', { reason: `errno ${-code}` });

async function create(device: string): Promise<string> {
  // The first try fails at the start; later ones take long.
  if (tries++ === 0) throw refusal(-19);
  if (waiting.has(device)) throw refusal(-16);
  if (made.has(device)) throw refusal(-17);
  await new Promise<void>((resolve) => waiting.set(device, resolve));
  waiting.delete(device);
  made.add(device);
  return device;
}

beforeEach(async () => {
  made = new Set();
  waiting = new Map();
  tries = 0;
  let isUp = false;
  const service = {
    async call(name: string, params: unknown): Promise<unknown> {
      const { name: device = '' } = (params ?? {}) as { name?: string };
      switch (name) {
        case 'bdev_aio_create':
          return create(device);
        case 'bdev_aio_delete':
          if (!made.delete(device)) throw refusal(-19);
          return true;
        case 'bdev_raid_delete':
          throw refusal(-19);
        case 'framework_get_config':
          return [...made].map((one) => ({ method: 'bdev_aio_create', params: { name: one } }));
        case 'rpc_get_methods':
          return isUp ? ['bdev_aio_create', 'bdev_aio_delete', 'bdev_set_options'] : ['framework_start_init'];
        case 'framework_start_init':
          isUp = true;
          return true;
        case 'bdev_get_bdevs':
          if (device !== '' && !made.has(device)) throw refusal(-19);
          return [];
        case 'raidkit_get_modules':
          return [];
        default:
          return true;
      }
    },
  };
  configuration = new Configuration(service, {
    calls: [{ method: 'bdev_aio_create', params: { name: 'x' }, subsystem: 'bdev', place: 1 }],
    state: null,
    isStrict: false,
    waitForRpc: false,
    reactors: 1,
    scan: null,
    log: pino({ level: 'silent' }),
  });
  await configuration.begin();
  await until('the try is under way', () => waiting.size === 1);
});

afterEach(() => configuration.end());

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const pending = async (): Promise<unknown> =>
  ((await configuration.call('raidkit_get_configuration', undefined)) as { pending: unknown[] }).pending;

it('has no device made again that was deleted while two reasons to try had come', async () => {
  // Another reason to look: the try that is under way is not to be made twice.
  await configuration.call('bdev_set_options', {});
  await pause(300);
  const deleted = configuration.call('bdev_aio_delete', { name: 'x' });
  waiting.get('x')?.();
  await expect(deleted).resolves.toBe(true);
  await pause(50);
  expect([...made]).toEqual([]);
  expect(tries).toBe(2);
});

it('tells a client that makes what it is just making again that it is there', async () => {
  const answer = configuration.call('bdev_aio_create', { name: 'x' });
  const told = expect(answer).rejects.toMatchObject({ code: -17 });
  await pause(50);
  waiting.get('x')?.();
  await told;
  expect([...made]).toEqual(['x']);
});

it('deletes what has gone by itself a moment ago, and does not make it again', async () => {
  waiting.get('x')?.();
  await until('it is part of what there is', () => made.has('x'));
  await configuration.refresh();
  made.delete('x');
  await expect(configuration.call('bdev_aio_delete', { name: 'x' })).resolves.toBe(true);
  await configuration.refresh();
  await pause(300);
  expect(waiting.size).toBe(0);
  expect(await pending()).toEqual([]);
  await expect(configuration.call('bdev_aio_delete', { name: 'x' })).rejects.toMatchObject({ code: -19 });
});

it('keeps a device that a call for another kind of device would not delete', async () => {
  waiting.get('x')?.();
  await until('it is part of what there is', () => made.has('x'));
  await configuration.refresh();
  await expect(configuration.call('bdev_raid_delete', { name: 'x' })).rejects.toMatchObject({ code: -19 });
  made.delete('x');
  await configuration.refresh();
  await expect(configuration.call('bdev_raid_delete', { name: 'x' })).rejects.toMatchObject({ code: -19 });
  await until('it is made again', () => waiting.has('x'));
});
