import { Bdev, BdevRegistry } from '@raidkit/bdev';
import type { BdevDriver } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { pino } from 'pino';
import { afterEach, expect, it, vi } from 'vitest';
import { Exports } from '../src/exports.js';

afterEach(() => {
  vi.useRealTimers();
});

const volume: BdevDriver = {
  kind: 'raid',
  productName: 'Raid Volume',
  hasForceUnitAccess: false,
  supports: () => false,
  submit: () => undefined,
};

it('asks again of what a volume is a member, while the volume is there', async () => {
  const log = pino({ level: 'silent' });
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 64 << 20, log }));
  const exports = new Exports(registry, log);
  let asked = 0;
  exports.exportVolumes(() => {
    asked++;
    return Promise.reject(new Error('it cannot be read'));
  });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const bdev = new Bdev({ name: 'vol', uuid: 'uuid of vol', blockSize: 512, numBlocks: 64, driver: volume });
  await registry.register(bdev);
  await exports.settled();
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked).toBe(2);
  await registry.unregister(bdev);
  await vi.advanceTimersByTimeAsync(5000);
  const before = asked;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(before);
  vi.useRealTimers();
  await exports.close();
});
