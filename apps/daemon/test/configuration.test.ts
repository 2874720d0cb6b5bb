import { pino } from 'pino';
import { expect, it } from 'vitest';
import { Configuration } from '../src/configuration/configuration.js';
import { RpcError } from '../src/rpc/errors.js';
import { until } from './support/devices.js';

it('has no device made again that was deleted while two reasons to try had come', async () => {
  const made = new Set<string>();
  let tries = 0;
  let isUp = false;
  const waiting: (() => void)[] = [];
  const service = {
    async call(name: string, params: unknown): Promise<unknown> {
      const { name: device = '' } = (params ?? {}) as { name?: string };
      switch (name) {
        case 'bdev_aio_create':
          // At the start it fails; later tries take long.
          if (tries++ === 0) throw new RpcError(-19, 'No such device', { reason: 'it is not there' });
          await new Promise<void>((resolve) => waiting.push(resolve));
          made.add(device);
          return device;
        case 'bdev_aio_delete':
          if (!made.delete(device)) throw new RpcError(-19, 'No such device', { reason: 'it is not there' });
          return true;
        case 'framework_get_config':
          return [...made].map((one) => ({ method: 'bdev_aio_create', params: { name: one } }));
        case 'rpc_get_methods':
          return isUp ? ['bdev_aio_create', 'bdev_aio_delete', 'bdev_set_options'] : ['framework_start_init'];
        case 'framework_start_init':
          isUp = true;
          return true;
        case 'raidkit_get_modules':
        case 'bdev_get_bdevs':
          return [];
        default:
          return true;
      }
    },
  };
  const create = { method: 'bdev_aio_create', params: { name: 'x' }, subsystem: 'bdev', place: 1 };
  const configuration = new Configuration(service, {
    calls: [create],
    state: null,
    isStrict: false,
    waitForRpc: false,
    reactors: 1,
    scan: null,
    log: pino({ level: 'silent' }),
  });
  await configuration.begin();
  await until('the try is under way', () => waiting.length === 1);
  // Another reason to look: the try that is under way is not to be made twice.
  await configuration.call('bdev_set_options', {});
  await new Promise((resolve) => setTimeout(resolve, 300));
  const deleted = configuration.call('bdev_aio_delete', { name: 'x' });
  while (waiting.length > 0) waiting.shift()?.();
  await expect(deleted).resolves.toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect([...made]).toEqual([]);
  expect(tries).toBe(2);
  configuration.end();
});
