import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { raid1 } from '@raidkit/raid1';
import {
  CutMode,
  Random,
  SimDisk,
  SimMemory,
  VolumeModel,
  World,
  fillSectors,
  noTag,
  readTag,
  simulate,
} from '@raidkit/testkit';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { describe, expect, it, vi } from 'vitest';

const limits = { maxMs: 10_000, maxSteps: 10_000 };

describe('World', () => {
  it('lets all continuations of an event run before the next one', async () => {
    const world = new World(1);
    const seen: string[] = [];
    const work = async (name: string): Promise<void> => {
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      seen.push(name);
    };
    world.after(1, () => void work('first'));
    world.after(1, () => void seen.push('second'));
    expect(await world.run(() => seen.length === 2, limits)).toBe('done');
    expect(seen).toEqual(['first', 'second']);
    expect(world.now).toBe(1);
  });

  it('says when nothing is left to happen, when it takes too long, and when something throws', async () => {
    expect(await new World(1).run(() => false, limits)).toBe('idle');
    const busy = new World(1);
    const again = (): void => void busy.after(1, again);
    again();
    expect(await busy.run(() => false, limits)).toBe('limit');
    const bad = new World(1);
    bad.after(1, () => {
      throw new Error('no');
    });
    expect(await bad.run(() => false, limits)).toBe('failed');
    expect(bad.failure?.message).toBe('no');
  });

  it('lets nothing of the real world in', async () => {
    const now = vi.spyOn(Date, 'now');
    const random = vi.spyOn(Math, 'random');
    const timer = vi.spyOn(globalThis, 'setTimeout');
    const calls = (): number => now.mock.calls.length + random.mock.calls.length + timer.mock.calls.length;
    const before = calls();
    await simulate({ seed: 5, module: raid1, store });
    expect(calls()).toBe(before);
    vi.restoreAllMocks();
  });
});

describe('SimDisk', () => {
  async function withDisk(steps: (client: BlockClient, disk: SimDisk, world: World) => Promise<void>): Promise<void> {
    const world = new World(7);
    const memory = new SimMemory({ bytes: 8 * 1024 * 1024 });
    const life = { isDead: false };
    const registry = new BdevRegistry(world.runtime(life, memory));
    const disk = new SimDisk(world, new Random(7, 3), {
      name: 'd',
      uuid: '00000000-0000-4000-8000-000000000001',
      blockSize: 512,
      numBlocks: 1024,
      latency: { leastMs: 0.1, meanMs: 0.1 },
      hasWriteCache: true,
      hasForceUnitAccess: true,
      fill: 0,
    });
    let error: unknown = null;
    let isOver = false;
    const all = async (): Promise<void> => {
      const bdev = disk.plugIn(memory, life);
      await registry.register(bdev);
      await steps(new BlockClient(registry.open(bdev, { writable: true })), disk, world);
    };
    all()
      .catch((reason: unknown) => (error = reason))
      .finally(() => (isOver = true));
    expect(await world.run(() => isOver, limits)).toBe('done');
    expect(error).toBeNull();
  }
  const filled = (byte: number, blocks = 1): Uint8Array => new Uint8Array(512 * blocks).fill(byte);

  it('keeps over a power cut what was flushed or had forced unit access, and may lose the rest', () =>
    withDisk(async (client, disk) => {
      await client.write(0, filled(1));
      await client.flush();
      await client.write(0, filled(2));
      await client.write(1, filled(3), { fua: true });
      await client.write(2, filled(4));
      expect((await client.read(0, 1))[0]).toBe(2);
      disk.powerCut(CutMode.LoseAll);
      expect([...(await client.read(0, 3))].filter((_, at) => at % 512 === 0)).toEqual([1, 3, 0]);
    }));

  it('tears what was cached at sectors', () =>
    withDisk(async (client, disk) => {
      await client.write(0, filled(9, 64));
      disk.powerCut(CutMode.Random);
      const bytes = await client.read(0, 64);
      const sectors = Array.from({ length: 64 }, (_, sector) => bytes.subarray(sector * 512, (sector + 1) * 512));
      for (const sector of sectors) expect(new Set(sector).size).toBe(1);
      expect(new Set(sectors.map((sector) => sector[0]))).toEqual(new Set([0, 9]));
    }));

  it('cannot read a latent error until it is written', () =>
    withDisk(async (client, disk) => {
      disk.latent.add(5);
      await expect(client.read(4, 4)).rejects.toThrow('EIO');
      await client.read(6, 2);
      await client.write(5, filled(1));
      await client.read(4, 4);
    }));

  it('may lose what a failed flush covered, although a later one succeeds', () =>
    withDisk(async (client, disk) => {
      await client.write(0, filled(7, 64));
      await client.write(64, filled(7, 64));
      await client.write(128, filled(7, 64));
      disk.faults.flushErrors = 1;
      await expect(client.flush()).rejects.toThrow('EIO');
      await client.flush();
      disk.powerCut(CutMode.LoseAll);
      expect((await client.read(0, 192)).includes(0)).toBe(true);
    }));
});

describe('VolumeModel', () => {
  const sector = (tag: number): Int32Array => {
    const words = new Int32Array(128);
    fillSectors(words, 0, 9, 1, tag);
    return words;
  };
  const holds = (model: VolumeModel, tag: number): boolean => {
    const startedAt = model.readStarted();
    const violation = model.check(9, 1, sector(tag), 0, startedAt);
    model.readEnded();
    return violation === null;
  };

  it('knows a sector by every bit of it', () => {
    const words = sector(3);
    expect(readTag(words, 0, 9)).toBe(3);
    expect(readTag(words, 0, 8)).toBe(noTag);
    words[100] = 0;
    expect(readTag(words, 0, 9)).toBe(noTag);
  });

  it('asks for the newest acknowledged write, and allows those that are not over', () => {
    const model = new VolumeModel();
    expect(holds(model, 0)).toBe(true);
    const first = model.issue(9, 1, model.newTag());
    expect([0, 1].map((tag) => holds(model, tag))).toEqual([true, true]);
    model.acked(first, false);
    expect([0, 1].map((tag) => holds(model, tag))).toEqual([false, true]);
  });

  it('finds what is not zeros among sectors that were never written, unless what they hold is not known', () => {
    const model = new VolumeModel();
    const words = new Int32Array(300 * 128);
    fillSectors(words, 20 * 128, 20, 1, model.issue(20, 1, model.newTag()).tag);
    const check = () => model.check(0, 300, words, 0, model.now());
    expect(check()).toBeNull();
    words[270 * 128 + 99] = 1;
    expect(check()).toMatchObject({ sector: 270, found: noTag });
    model.doubtValues(270, 1);
    expect(check()).toBeNull();
    words[271 * 128] = 1;
    expect(check()).toMatchObject({ sector: 271 });
  });

  it('lets a power cut bring back what no flush has covered, once', () => {
    const model = new VolumeModel();
    model.acked(model.issue(9, 1, model.newTag()), false);
    model.flushed(model.now());
    model.acked(model.issue(9, 1, model.newTag()), false);
    model.powerCut();
    expect(holds(model, 0)).toBe(false);
    expect(holds(model, 1)).toBe(true);
    expect(holds(model, 2)).toBe(false);
    model.powerCut();
    expect(holds(model, 2)).toBe(false);
  });

  it('keeps what was acknowledged when only the process dies', () => {
    const model = new VolumeModel();
    model.acked(model.issue(9, 1, model.newTag()), false);
    const torn = model.issue(9, 1, model.newTag());
    model.killed();
    expect(torn.doneAt).toBeLessThan(Infinity);
    expect(holds(model, 0)).toBe(false);
    expect(holds(model, 1)).toBe(true);
    expect(holds(model, 2)).toBe(false);
  });

  it('does not count on a write that was under way when a device dropped its cache', () => {
    const model = new VolumeModel();
    model.acked(model.issue(9, 1, model.newTag()), false);
    const held = model.issue(9, 1, model.newTag());
    model.dropped();
    model.acked(held, false);
    model.flushed(model.now());
    expect(holds(model, 1)).toBe(true);
  });

  it('does not settle by a read that was under way when a device dropped its cache what the sector holds', () => {
    const model = new VolumeModel();
    model.acked(model.issue(9, 1, model.newTag()), false);
    const startedAt = model.readStarted();
    model.dropped();
    expect(model.check(9, 1, sector(1), 0, startedAt)).toBeNull();
    model.readEnded();
    // A process that starts afterwards does.
    expect([0, 1].map((tag) => holds(model, tag))).toEqual([true, false]);
  });

  it('does not take a flush for one of writes that were acknowledged after it began', () => {
    const model = new VolumeModel();
    const startedAt = model.now();
    model.acked(model.issue(9, 1, model.newTag()), false);
    model.flushed(startedAt);
    model.powerCut();
    expect(holds(model, 0)).toBe(true);
  });
});
