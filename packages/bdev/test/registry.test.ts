import { Bdev, BdevRegistry, IoType, Status } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { ManualWorld, RecordingDriver, addDevice, newRig, settled, start } from './kit.js';

function device(world: ManualWorld, options: Partial<ConstructorParameters<typeof Bdev>[0]> = {}): Bdev {
  const driver = new RecordingDriver(world, 8, 512);
  return new Bdev({ name: 'd', uuid: 'd-uuid', blockSize: 512, numBlocks: 8, driver, ...options });
}

describe('the registry', () => {
  it('finds a device by name, alias and uuid, and keeps the three unique', () => {
    const world = new ManualWorld();
    const registry = new BdevRegistry(world);
    const bdev = device(world, { aliases: ['alias'] });
    void registry.register(bdev);
    expect(['d', 'd-uuid', 'alias', 'x'].map((name) => registry.get(name))).toEqual([bdev, bdev, bdev, undefined]);
    expect(registry.list()).toEqual([bdev]);
    for (const clash of [{ name: 'alias' }, { name: 'y', uuid: 'd' }, { name: 'z', uuid: 'q', aliases: ['d-uuid'] }]) {
      expect(() => registry.register(device(world, clash))).toThrow(
        expect.objectContaining({ code: 'ERR_BDEV_EXISTS', errno: 17 }) as Error,
      );
    }
    expect(registry.list()).toEqual([bdev]);
    expect(registry.get('z')).toBeUndefined();
  });

  it('refuses impossible shapes', () => {
    const world = new ManualWorld();
    const registry = new BdevRegistry(world);
    const bad = [
      { name: '' },
      { name: 'n'.repeat(256) },
      { blockSize: 256 },
      { blockSize: 520 },
      { blockSize: 131_072 },
      { numBlocks: 0 },
      { numBlocks: 1.5 },
      { numBlocks: 2 ** 53 },
      { numBlocks: 2 ** 45 },
      { optimalIoBoundary: -1 },
      { writeUnitSize: 0 },
    ];
    for (const options of bad) {
      expect(() => registry.register(device(world, options)), JSON.stringify(options)).toThrow(
        expect.objectContaining({ errno: 22 }) as Error,
      );
    }
    expect(registry.list()).toEqual([]);
  });

  it('examines a new device, one examiner after the other, and waits for that', async () => {
    const world = new ManualWorld();
    const registry = new BdevRegistry(world);
    const seen: string[] = [];
    let release = (): void => undefined;
    registry.addExaminer(async (bdev) => {
      seen.push(`first ${bdev.name}`);
      await new Promise<void>((resolve) => (release = resolve));
      throw new Error('not mine');
    });
    registry.addExaminer((bdev) => void seen.push(`second ${bdev.name}`));
    const registered = registry.register(device(world));
    expect(registry.open('d').isOpen).toBe(true);
    let isOver = false;
    const waited = registry.waitForExamine().then(() => (isOver = true));
    await Promise.resolve();
    expect([seen, isOver]).toEqual([['first d'], false]);
    release();
    await registered;
    await waited;
    expect(seen).toEqual(['first d', 'second d']);
    expect(world.errors.length).toBe(1);
    await registry.waitForExamine();
  });

  it('tells its listeners', async () => {
    const world = new ManualWorld();
    const registry = new BdevRegistry(world);
    const events: string[] = [];
    const listener = {
      onRegistered: (bdev: Bdev) => void events.push(`+${bdev.name}`),
      onUnregistered: (bdev: Bdev) => void events.push(`-${bdev.name} ${registry.get(bdev.name) === undefined}`),
    };
    registry.addListener(listener);
    const bdev = device(world);
    void registry.register(bdev);
    await registry.unregister(bdev);
    registry.removeListener(listener);
    void registry.register(device(world));
    expect(events).toEqual(['+d', '-d true']);
  });
});

describe('a claim', () => {
  it('keeps other writers out, and ends with its descriptor', () => {
    const { registry, bdev } = newRig();
    const owner = registry.open(bdev, { writable: true });
    owner.claim('raid r0');
    expect(() => registry.open(bdev, { writable: true })).toThrow(/claimed by raid r0/);
    const reader = registry.open(bdev);
    expect(() => reader.claim('me')).toThrow(/claimed by raid r0/);
    reader.releaseClaim();
    expect(bdev.claimedBy).toBe('raid r0');
    owner.close();
    expect(bdev.claimedBy).toBeNull();
    registry.open(bdev, { writable: true });
  });

  it('is refused while another descriptor may write; a reader’s keeps writers out', () => {
    const { registry, bdev } = newRig();
    const writer = registry.open(bdev, { writable: true });
    const other = registry.open(bdev, { writable: true });
    expect(() => writer.claim('x')).toThrow(expect.objectContaining({ code: 'ERR_BDEV_CLAIMED', errno: 1 }) as Error);
    other.close();
    const reader = registry.open(bdev);
    writer.claim('x');
    writer.releaseClaim();
    writer.close();
    reader.claim('y');
    expect(() => registry.open(bdev, { writable: true })).toThrow(/claimed by y/);
  });
});

describe('removal', () => {
  it('tells every descriptor, refuses new I/O, waits for closing and for I/O, then frees the name', async () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const events: string[] = [];
    const first = registry.open(bdev, { onEvent: ({ type }) => void events.push(`first ${type}`) });
    const second = registry.open(bdev, {
      onEvent: ({ type }) => {
        events.push(`second ${type}`);
        second.close();
      },
    });
    const inFlight = start(first, IoType.Flush);
    let isOver = false;
    const removed = registry.unregister(bdev).then(() => (isOver = true));
    expect(events).toEqual(['first remove', 'second remove']);
    await expect(registry.unregister(bdev)).rejects.toMatchObject({ code: 'ERR_BDEV_REMOVED' });
    expect(() => registry.open(bdev)).toThrow(expect.objectContaining({ code: 'ERR_BDEV_NOT_FOUND', errno: 19 }) as Error);
    const refused = start(first, IoType.Flush);
    world.settle();
    expect([refused.status, inFlight.status]).toEqual([Status.NoDevice, null]);
    driver.finishAll();
    first.close();
    await settled(world, removed);
    expect([isOver, inFlight.status, driver.destroyed, bdev.state]).toEqual([true, 0, 1, 'removed']);
    const again = addDevice(world, registry);
    expect(registry.get('m0')).toBe(again.bdev);
  });

  it('frees the name even if the driver cannot be destroyed', async () => {
    const { world, registry, driver, bdev } = newRig();
    driver.destroy = () => {
      throw new Error('stuck');
    };
    await expect(settled(world, registry.unregister(bdev))).rejects.toThrow('stuck');
    expect(registry.get('m0')).toBeUndefined();
    expect(bdev.state).toBe('removed');
  });
});

describe('resize', () => {
  it('tells every descriptor of the device, once', () => {
    const { world, registry, bdev } = newRig({ numBlocks: 10 });
    const events: unknown[] = [];
    const descriptor = registry.open(bdev, { onEvent: (event) => void events.push(event) });
    bdev.resize(5);
    bdev.resize(5);
    const refused = start(descriptor, IoType.Unmap, 5, 1);
    const fine = start(descriptor, IoType.Unmap, 4, 1);
    world.settle();
    expect(events).toEqual([{ type: 'resize', numBlocks: 5 }]);
    expect([refused.status, fine.status]).toEqual([Status.Invalid, Status.Ok]);
  });
});
