import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { BlockClient } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { composeService } from '../src/compose.js';
import type { ComposedPlane } from '../src/compose.js';
import { ownMethods } from '../src/configuration/configuration.js';
import { monitorMethods } from '../src/events/event-methods.js';
import { defaultLevelPackages } from '../src/index.js';
import { SharedState } from '../src/shared-state.js';
import type { Change } from '../src/shared-state.js';
import { Directory } from '../src/router/directory.js';
import { Holds } from '../src/router/holds.js';
import { Moves } from '../src/router/moves.js';
import { Placement } from '../src/router/placement.js';
import type { Port } from '../src/router/port.js';
import { routes } from '../src/router/routes.js';
import { RpcError } from '../src/rpc/errors.js';
import { SharedNames, newSharedNames } from '../src/shared-names.js';
import { startTestDaemon } from './support/daemon.js';

describe('names that threads share', () => {
  it('are had once, whatever is taken and given back in between', () => {
    // The table is small, so that entries collide.
    const step = fc.record({ isTaken: fc.boolean(), table: fc.nat(1), name: fc.nat(20) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const words = newSharedNames(24);
        const tables = [new SharedNames(words), new SharedNames(words)];
        const model = new Set<number>();
        for (const { isTaken, table, name } of steps) {
          if (isTaken) {
            expect(tables[table]!.take(`n${name}`)).toBe(!model.has(name));
            model.add(name);
          } else {
            tables[table]!.release(`n${name}`);
            model.delete(name);
          }
        }
        for (let name = 0; name <= 20; name++) expect(tables[0]!.take(`n${name}`)).toBe(!model.has(name));
      }),
    );
  });

  it('end: the one that has no room is refused, and room comes back', () => {
    const table = new SharedNames(newSharedNames(8));
    for (let i = 0; i < 7; i++) expect(table.take(`n${i}`)).toBe(true);
    expect(() => table.take('n7')).toThrow('7 names');
    table.release('n3');
    expect(table.take('n7')).toBe(true);
  });

  it('wait for a thread that is in the middle of it', async () => {
    const words = newSharedNames(8);
    const holder = new Worker(
      `const { workerData: words, parentPort } = require('node:worker_threads');
       Atomics.store(words, 0, 1);
       parentPort.postMessage('held');
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
       Atomics.store(words, 3, 1);
       Atomics.store(words, 0, 0);
       Atomics.notify(words, 0);`,
      { eval: true, workerData: words },
    );
    await new Promise((resolve) => holder.once('message', resolve));
    expect(new SharedNames(words).take('n')).toBe(true);
    expect(Atomics.load(words, 3)).toBe(1);
    await holder.terminate();
  });
});

describe('holds', () => {
  it('let one at a time work with a name, and those with other names go on', async () => {
    const holds = new Holds();
    const told: string[] = [];
    const work = (name: string, ms: number) => async (): Promise<void> => {
      told.push(`${name} begins`);
      await sleep(ms);
      told.push(`${name} ends`);
    };
    const first = holds.holding(['a', 'b'], work('first', 30));
    const second = holds.holding(['b', 'c'], work('second', 1));
    const other = holds.holding(['c'], work('other', 1));
    await other;
    expect(told).toContain('first begins');
    expect(told).not.toContain('second begins');
    await Promise.all([first, second]);
    await holds.free('b');
    expect(told.indexOf('second begins')).toBeGreaterThan(told.indexOf('first ends'));
  });

  it('end with an error too', async () => {
    const holds = new Holds();
    await expect(holds.holding(['a'], () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await holds.free('a');
  });
});

describe('the directory', () => {
  const there = (name: string): Change => ({ of: 'bdev', is: 'there', name, names: [name, `uuid of ${name}`] });

  it('believes the later reactor, whose word may come before the earlier one’s', () => {
    const directory = new Directory();
    directory.change(0, there('m'));
    directory.change(1, there('m'));
    directory.change(0, { of: 'bdev', is: 'gone', name: 'm' });
    expect(directory.find('bdev', 'uuid of m')).toBe(1);
    directory.change(1, { of: 'bdev', is: 'gone', name: 'm' });
    expect(directory.find('bdev', 'uuid of m')).toBeUndefined();
  });

  it('keeps the place in lists of a device that moves', async () => {
    const directory = new Directory();
    for (const name of ['a', 'b', 'c']) directory.change(0, there(name));
    await directory.keepingPlace('uuid of b', () => {
      directory.change(0, { of: 'bdev', is: 'gone', name: 'b' });
      directory.change(1, there('b'));
      return Promise.resolve();
    });
    expect(directory.sort('bdev', ['c', 'gone', 'b', 'a'], (name) => name)).toEqual(['a', 'b', 'c', 'gone']);
  });
});

it('placement: devices of one array come to one reactor, arrays to the one with the fewest', async () => {
  const directory = new Directory();
  const placement = new Placement(directory, 2);
  directory.change(0, { of: 'array', is: 'there', name: 'old', names: ['old'] });
  const opened: number[] = [];
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const open = (uuid: string): Promise<void> =>
    placement.openingDevice({ uuid, name: `array ${uuid}` }, [], async (reactor) => {
      opened.push(reactor);
      await gate;
    });
  const all = ['x', 'x', 'y', 'z', 'x'].map(open);
  go();
  await Promise.all(all);
  // With x there is one array on each: y goes to the last reactor, z to the other one, and the members of x stay together.
  expect(opened).toEqual([1, 1, 1, 0, 1]);
  directory.change(1, { of: 'awaited', names: ['late'] });
  await placement.openingDevice(null, ['late', 'some uuid'], (reactor) => expectReactor(reactor, 1));
  await placement.openingDevice(null, ['other'], (reactor) => expectReactor(reactor, 0));
});

describe('moves', () => {
  const log = pino({ level: 'silent' });
  /** Some of these reactors cannot open the devices that they are given. */
  function makePorts(directory: Directory, cannotOpen: number[]): { ports: Port[]; done: string[] } {
    const done: string[] = [];
    const ports = [0, 1].map((reactor): Port => ({
      isStuck: false,
      stuckError: () => new Error('stuck'),
      tellExports: () => undefined,
      call: () => Promise.reject(new Error('not a call')),
      ask(question) {
        done.push(`${question.ask} ${reactor}`);
        if (question.ask === 'release') {
          directory.change(reactor, { of: 'bdev', is: 'gone', name: 'm' });
          return Promise.resolve({ name: 'm', identity: null, method: 'bdev_aio_create', params: {} });
        }
        if (cannotOpen.includes(reactor)) return Promise.reject(new RpcError(-12, `no room on ${reactor}`));
        directory.change(reactor, { of: 'bdev', is: 'there', name: 'm', names: ['m'] });
        return Promise.resolve(true);
      },
    }));
    return { ports, done };
  }

  it.each([
    { cannotOpen: [], error: null, at: 1 },
    { cannotOpen: [1], error: 'm could not be opened on reactor 1: no room on 1', at: 0 },
    {
      cannotOpen: [0, 1],
      error: 'm could not be opened on reactor 1: no room on 1, nor again on reactor 0, and is now closed: no room on 0',
      at: undefined,
    },
  ])('where $cannotOpen cannot open it: $error', async ({ cannotOpen, error, at }) => {
    const directory = new Directory();
    directory.change(0, { of: 'bdev', is: 'there', name: 'm', names: ['m'] });
    const { ports, done } = makePorts(directory, cannotOpen);
    const moves = new Moves(ports, directory, log);
    const moved = moves.move('m', 1).then(
      () => null,
      (why: unknown) => (why as RpcError).message,
    );
    // A call for it in the meantime waits until it is somewhere again.
    await moves.settled('m');
    expect(directory.find('bdev', 'm')).toBe(at);
    expect(await moved).toBe(error);
    expect(done.slice(0, 2)).toEqual(['release 0', 'adopt 1']);
  });
});

it('every method has a route, and every route a method', async () => {
  const test = await startTestDaemon();
  const names = (await test.client.call('rpc_get_methods', { include_aliases: true })) as string[];
  await test.end();
  // What the configuration and the monitor answer themselves never gets to the router.
  const routed = names.filter((name) => !ownMethods.includes(name) && !monitorMethods.includes(name));
  expect(Object.keys(routes).sort()).toEqual(routed.sort());
});

describe('two services of one daemon', () => {
  async function withPlanes(work: (services: ComposedPlane[], changes: string[]) => Promise<void>): Promise<void> {
    const words = newSharedNames();
    const log = pino({ level: 'silent' });
    const changes: string[] = [];
    const services: ComposedPlane[] = [];
    for (const index of [0, 1]) {
      const share = new SharedState(words, (change) => changes.push(`${index} ${JSON.stringify(change)}`));
      const options = { nbd: [], levels: defaultLevelPackages, conditions: ['@raidkit/source'] };
      const composed = await composeService(options, {
        runtime: nodeRuntime({ memoryBytes: 64 << 20, log }),
        log,
        place: { index, count: 2, share },
      });
      composed.service.startInit();
      services.push(composed);
    }
    try {
      await work(services, changes);
    } finally {
      for (const composed of services) await composed.stop();
    }
  }
  const call = (composed: ComposedPlane | undefined, method: string, params: unknown): Promise<unknown> =>
    composed!.service.dispatcher.call(method, params);

  it('refuse each other’s names as if they were one: devices, uuids, arrays, exports', () =>
    withPlanes(async ([one, two]) => {
      const uuid = '11111111-0000-4000-8000-000000000001';
      await call(one, 'bdev_malloc_create', { name: 'm', num_blocks: 4096, block_size: 512, uuid });
      const message = (name: string, taken: string): string => `bdev ${name}: the name, alias or uuid ${taken} is taken`;
      await expect(call(two, 'bdev_malloc_create', { name: 'm', num_blocks: 64, block_size: 512 })).rejects.toMatchObject({
        code: -17,
        message: message('m', 'm'),
      });
      await expect(call(two, 'bdev_null_create', { name: 'n', num_blocks: 64, block_size: 512, uuid })).rejects.toMatchObject({
        code: -17,
        message: message('n', uuid),
      });
      // Devices that were taken before the refusal are returned.
      await call(two, 'bdev_null_create', { name: 'n', num_blocks: 64, block_size: 512 });
      await call(one, 'raidkit_nbd_export', { bdev_name: 'm', name: 'e' });
      await expect(call(two, 'raidkit_nbd_export', { bdev_name: 'n', name: 'e' })).rejects.toMatchObject({
        code: -17,
        message: 'an NBD export e exists already',
      });
      await call(one, 'bdev_raid_create', { name: 'a', raid_level: 'concat', strip_size_kb: 4, base_bdevs: ['absent'] });
      await expect(
        call(two, 'bdev_raid_create', { name: 'a', raid_level: 'concat', strip_size_kb: 4, base_bdevs: ['n'] }),
      ).rejects.toMatchObject({ code: -17 });
      await call(one, 'bdev_malloc_delete', { name: 'm' });
      await call(one, 'bdev_raid_delete', { name: 'a' });
      await call(two, 'bdev_malloc_create', { name: 'm', num_blocks: 4096, block_size: 512, uuid });
      await call(two, 'raidkit_nbd_export', { bdev_name: 'm', name: 'e' });
      await call(two, 'bdev_raid_create', { name: 'a', raid_level: 'concat', strip_size_kb: 4, base_bdevs: ['n'] });
    }));

  it('count on from each other’s names for memory devices without one', () =>
    withPlanes(async ([one, two]) => {
      const params = { num_blocks: 64, block_size: 512 };
      expect(await call(one, 'bdev_malloc_create', params)).toBe('Malloc0');
      expect(await call(two, 'bdev_malloc_create', params)).toBe('Malloc1');
      expect(await call(one, 'bdev_malloc_create', params)).toBe('Malloc2');
    }));

  it('never have halves of one array each, not even if a device comes to the wrong one', () =>
    withPlanes(async ([one, two], changes) => {
      const shape = { num_blocks: 8192, block_size: 512 };
      const uuidOf = (index: number): string => `22222222-0000-4000-8000-00000000000${index}`;
      for (const index of [0, 1]) await call(one, 'bdev_malloc_create', { ...shape, name: `m${index}`, uuid: uuidOf(index) });
      await call(one, 'bdev_raid_create', { name: 'a', raid_level: 'raid1', base_bdevs: ['m0', 'm1'], superblock: true });
      // A copy of the second member, superblock and all, on the other service; the first service has lost that member.
      await call(one, 'bdev_raid_remove_base_bdev', { name: 'm1' });
      const copy = await superblockOf(one!, 'm0');
      await call(one, 'bdev_malloc_delete', { name: 'm1' });
      await call(two, 'bdev_malloc_create', { ...shape, name: 'm1', uuid: uuidOf(1) });
      await writeTo(two!, 'm1', copy);
      const bdev = two!.service.registry.get('m1')!;
      await two!.service.arrays.examine(bdev);
      expect(two!.service.arrays.list()).toEqual([]);
      expect(bdev.claimedBy).toBeNull();
      expect(changes.filter((change) => change.startsWith('1 {"of":"array"'))).toEqual([]);
      // It may be assembled here once the other one has no such array.
      await call(one, 'raidkit_stop', { name: 'a' });
      await two!.service.arrays.examine(bdev);
      expect(two!.service.arrays.list().map(({ name }) => name)).toEqual(['a']);
    }));
});

async function superblockOf({ service }: ComposedPlane, name: string): Promise<Uint8Array> {
  const descriptor = service.registry.open(name);
  try {
    return await new BlockClient(descriptor).read(0, 64);
  } finally {
    descriptor.close();
  }
}

async function writeTo({ service }: ComposedPlane, name: string, bytes: Uint8Array): Promise<void> {
  const descriptor = service.registry.open(name, { writable: true });
  try {
    await new BlockClient(descriptor).write(0, bytes);
  } finally {
    descriptor.close();
  }
}

function expectReactor(reactor: number, expected: number): Promise<void> {
  expect(reactor).toBe(expected);
  return Promise.resolve();
}
