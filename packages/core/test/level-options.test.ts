import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import type { PlainModule, RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { encodeSuperblock, spdkSuperblockStore } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;

async function plugInAll(rig: Rig, images: readonly Uint8Array[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries()) {
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.registry.waitForExamine();
  return disks;
}

function empty(count: number, bytes = 3 * MiB): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(bytes));
}

const striped = { name: 'a', level: 'raid5f', baseBdevs: ['m0', 'm1', 'm2'], stripSizeKb: 16 };

it('full_stripe_only still holds at the next start, and after SPDK ran the array', async () => {
  const rig = newRig();
  const disks = await plugInAll(rig, empty(3));
  await rig.arrays.create({ ...striped, superblock: true, options: { full_stripe_only: true } });
  await rig.arrays.stop();
  for (const bySpdk of [0, 1]) {
    const again = newRig();
    await plugInAll(
      again,
      disks.map((disk) => {
        const bytes = disk.bytes.slice();
        const superblock = superblockOf(disk);
        bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + bySpdk }));
        return bytes;
      }),
    );
    expect(arrayOf(again, 'a').options).toEqual({ full_stripe_only: true });
    const volume = openVolume(again, 'a');
    await expect(volume.write(0, blocks(1, 7))).rejects.toThrow();
    await volume.write(0, blocks(64, 7));
    volume.descriptor.close();
    // The records of the second start have the options, too.
    await again.arrays.stop();
  }
});

const described = (...names: string[]): NonNullable<PlainModule['options']> =>
  Object.fromEntries(names.map((name) => [name, { type: 'any', description: 'for the test' } as const]));

/** A stranger's level, which remembers the options that its arrays are started with. */
function strange(seen: unknown[], checks: Pick<PlainModule, 'checkOptions' | 'options'> = {}): PlainModule {
  return {
    ...raid0,
    level: 'strange',
    aliases: [],
    code: 0x1234,
    options: described('layout', 'copies', 'weights', 'nested', 'count', 'hook', 'text'),
    ...checks,
    start(raid) {
      seen.push(raid.options);
      return raid0.start(raid);
    },
  };
}

function rigWith(module: RaidModule): Rig {
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: 64 << 20 }));
  const modules = new RaidModuleRegistry();
  modules.register(module);
  return {
    registry,
    arrays: new RaidArrays({ registry, modules, store: spdkSuperblockStore, assembly: { absentWaitMs: 20 } }),
    events: [],
  };
}

it('a stranger’s level is started each time with the options that it was given, as JSON has them', async () => {
  const seen: unknown[] = [];
  const options = { layout: 'near', copies: 2, weights: [1, 2.5], nested: { name: 'größe' } };
  const rig = rigWith(strange(seen));
  const disks = await plugInAll(rig, empty(2));
  await rig.arrays.create({ name: 'a', level: 'strange', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock: true, options });
  await rig.arrays.stop();
  const again = rigWith(strange(seen));
  await plugInAll(
    again,
    disks.map((disk) => disk.bytes),
  );
  expect(seen).toEqual([options, options]);
});

it('options that the level refuses, or that would not come back, are refused at creation', async () => {
  const rig = newRig();
  await plugInAll(rig, empty(3));
  const create = (options: Record<string, unknown>, superblock = true) =>
    rig.arrays.create({ ...striped, superblock, options });
  await expect(create({ full_stripe_only: 'yes' })).rejects.toThrow(
    /option full_stripe_only must be true or false, not "yes": refuse writes/,
  );
  await expect(create({ fullStripeOnly: true })).rejects.toThrow(/raid5f has no option fullStripeOnly/);
  expect(rig.arrays.list().length).toBe(0);
  const other = rigWith(strange([]));
  await plugInAll(other, empty(2));
  const createStrange = (options: Record<string, unknown>, superblock = true) =>
    other.arrays.create({ name: 'a', level: 'strange', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock, options });
  await expect(createStrange({ count: 1n })).rejects.toThrow(/cannot be kept as JSON/);
  await expect(createStrange({ hook: () => undefined })).rejects.toThrow(/option hook cannot be kept as JSON/);
  await expect(createStrange({ text: 'x'.repeat(3500) })).rejects.toThrow(/3511 bytes as JSON, and at most 3500 fit/);
  // Nothing is kept on members without superblocks.
  await createStrange({ text: 'x'.repeat(3500) }, false);
});

it('options are held against what the level says of them', async () => {
  const description = 'for the test';
  const rig = rigWith(
    strange([], {
      options: {
        fast: { type: 'boolean', default: false, description },
        width: { type: 'integer', minimum: 2, maximum: 4, default: 2, description },
        order: { type: 'string', enum: ['up', 'down'], default: 'up', description },
      },
    }),
  );
  await plugInAll(rig, empty(2));
  const create = (options: Record<string, unknown>) =>
    rig.arrays.create({ name: 'a', level: 'strange', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock: true, options });
  for (const [options, message] of [
    [{ fast: 'yes' }, 'option fast must be true or false, not "yes": for the test'],
    [{ width: 5 }, 'option width must be an integer from 2 to 4, not 5'],
    [{ width: 2.5 }, 'option width must be an integer from 2 to 4, not 2.5'],
    [{ order: 'sideways' }, 'option order must be up or down, not "sideways"'],
    [{ toString: 1 }, 'level strange has no option toString: it has fast, width, order'],
  ] as const)
    await expect(create(options), message).rejects.toThrow(message);
  expect(rig.arrays.list()).toEqual([]);
  await create({ fast: true, width: 4, order: 'down' });
  expect(arrayOf(rig, 'a').options).toEqual({ fast: true, width: 4, order: 'down' });
});

it('an array with an option that its level has no more is not started', async () => {
  const rig = rigWith(strange([]));
  const disks = await plugInAll(rig, empty(2));
  const array = { name: 'a', level: 'strange', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock: true };
  await rig.arrays.create({ ...array, options: { copies: 2 } });
  await rig.arrays.stop();
  const again = rigWith(strange([], { options: described('layout') }));
  await plugInAll(
    again,
    disks.map((disk) => disk.bytes),
  ).catch(() => undefined);
  expect(arrayOf(again, 'a')).toMatchObject({
    state: 'configuring',
    startError: expect.stringMatching(/no option copies/) as string,
  });
});

it('an array whose options its level refuses by now is not started', async () => {
  const rig = rigWith(strange([]));
  const disks = await plugInAll(rig, empty(2));
  await rig.arrays.create({
    name: 'a',
    level: 'strange',
    stripSizeKb: 16,
    baseBdevs: ['m0', 'm1'],
    superblock: true,
    options: { copies: 2 },
  });
  await rig.arrays.stop();
  const checkOptions = (): void => {
    throw new RangeError('copies went out of use');
  };
  const again = rigWith(strange([], { checkOptions }));
  await plugInAll(
    again,
    disks.map((disk) => disk.bytes),
  ).catch(() => undefined);
  expect(arrayOf(again, 'a').state).toBe('configuring');
  expect(arrayOf(again, 'a').startError).toMatch(/copies went out of use/);
});

it('an array starts whose options its level took without a word, before levels said which they have', async () => {
  const rig = rigWith({ ...raid0, options: described('copies') });
  const disks = await plugInAll(rig, empty(2));
  const array = { name: 'a', level: 'raid0', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock: true };
  await rig.arrays.create({ ...array, options: { copies: 2 } });
  await rig.arrays.stop();
  const again = newRig();
  await plugInAll(
    again,
    disks.map((disk) => disk.bytes),
  );
  expect(arrayOf(again, 'a')).toMatchObject({ state: 'online', options: { copies: 2 } });
});

it('an array starts whose options its level looks at itself, and says nothing of', async () => {
  const rig = rigWith(strange([]));
  const disks = await plugInAll(rig, empty(2));
  const array = { name: 'a', level: 'strange', stripSizeKb: 16, baseBdevs: ['m0', 'm1'], superblock: true };
  await rig.arrays.create({ ...array, options: { copies: 2 } });
  await rig.arrays.stop();
  const checked: unknown[] = [];
  const current = strange([], { checkOptions: (options) => void checked.push(options) });
  // This is a module from before the declaration existed.
  const again = rigWith(
    Object.fromEntries(Object.entries(current).filter(([key]) => key !== 'options')) as unknown as RaidModule,
  );
  await plugInAll(
    again,
    disks.map((disk) => disk.bytes),
  );
  expect(arrayOf(again, 'a')).toMatchObject({ state: 'online', startError: null, options: { copies: 2 } });
  expect(checked).toContainEqual({ copies: 2 });
});
