import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { Random, SimDisk, World, backendCases } from '@raidkit/testkit';
import type { BackendUnderTest } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';

/** Simulated disks on a world that runs by itself, under Node's own runtime. */
async function makeArray(): Promise<BackendUnderTest> {
  const world = new World(1);
  const life = { isDead: false };
  let isOver = false;
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 64 * 1024 * 1024 }));
  const modules = new RaidModuleRegistry();
  modules.register(raid5f);
  const arrays = new RaidArrays({ registry, modules, store });
  // The simulated disks' events are run as soon as they are asked for.
  const ticking = (async () => {
    while (!isOver) {
      await world.run(() => isOver, { maxMs: 1e9, maxSteps: 1e9 });
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let index = 0; index < 3; index++) {
    const disk = new SimDisk(world, new Random(index), {
      name: `d${index}`,
      uuid: `00000000-0000-4000-8000-00000000000${index + 1}`,
      blockSize: 512,
      numBlocks: 4096,
      latency: { leastMs: 0.1, meanMs: 1 },
      hasWriteCache: true,
      hasForceUnitAccess: true,
      fill: 0,
    });
    await registry.register(disk.plugIn(registry.runtime.memory, life));
  }
  await arrays.create({ name: 'v', level: 'raid5f', stripSizeKb: 4, baseBdevs: ['d0', 'd1', 'd2'], superblock: true });
  return {
    registry,
    bdev: registry.get('v')!,
    async close() {
      await arrays.stop();
      isOver = true;
      await ticking;
    },
  };
}

describe('a volume is a bdev like any other', () => {
  for (const { id, title, run } of backendCases) it(`${id} ${title}`, () => run(makeArray));
});

it('a device that mixes up blocks is caught', async () => {
  const make = async (): Promise<BackendUnderTest> => {
    const made = await makeArray();
    const { driver } = made.bdev;
    const submit = driver.submit.bind(driver);
    driver.submit = (io) => {
      if (io.offsetBlocks === 7) io.offsetBlocks = 6;
      submit(io);
    };
    return made;
  };
  await expect(backendCases.find(({ id }) => id === 'BDEV-01')!.run(make)).rejects.toThrow('other bytes');
});
