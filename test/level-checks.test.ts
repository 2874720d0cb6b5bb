import { Status } from '@raidkit/bdev';
import { RaidModuleRegistry, raidApiVersion, thirdPartyCodes } from '@raidkit/core';
import type { RaidGeometry, RaidIo, RaidLevel, RaidManifest, RaidModule } from '@raidkit/core';
import { describe, expect, it } from 'vitest';
import { plugIn } from './support/ram-disk.js';
import type { RamDisk } from './support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from './support/rig.js';
import type { Rig } from './support/rig.js';

/** Blocks of each of the two members. */
const memberBlocks = 2048;

const plain: RaidManifest = { stripSize: 'none', redundant: false, nullPayload: false, resize: false };
const mirror: RaidManifest = { stripSize: 'none', redundant: true, nullPayload: false, resize: false };

function moduleOf(manifest: RaidManifest, level: Partial<RaidLevel>, geometry: Partial<RaidGeometry> = {}): RaidModule {
  const methods = {
    submitRwRequest: (io: RaidIo) => io.submitPart(0, io.type, io.offsetBlocks, io.numBlocks, io.addr),
    ...(manifest.redundant
      ? { submitReconstructRequest: (io: RaidIo) => io.complete(Status.NotSupported), redundantSlots: () => [1] }
      : {}),
  };
  const sound = {
    numBlocks: memberBlocks,
    memberBlocks: [memberBlocks, memberBlocks],
    ...(manifest.redundant ? { stripe: { arrayBlocks: 1, memberBlocks: 1 } } : {}),
  };
  return {
    level: 'strange',
    aliases: [],
    code: thirdPartyCodes.first,
    apiVersion: raidApiVersion,
    manifest,
    baseBdevsMin: 2,
    ...(manifest.redundant ? { baseBdevsConstraint: { minOperational: 1 } } : {}),
    start: () => ({ geometry: { ...sound, ...geometry }, ...methods, ...level }),
  };
}

async function create(module: RaidModule): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig();
  rig.arrays.modules.register(module);
  const disks: RamDisk[] = [];
  for (let index = 0; index < 2; index++) {
    const bytes = new Uint8Array(memberBlocks * 512);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'strange', baseBdevs: ['m0', 'm1'] });
  return { rig, disks };
}

describe('an array is not started by a level whose geometry', () => {
  it.each<[string, RaidManifest, Partial<RaidGeometry>]>([
    ['has no number of blocks', plain, { numBlocks: NaN }],
    ['has half blocks', plain, { numBlocks: 10.5 }],
    ['has more blocks than bytes can be counted', plain, { numBlocks: 2 ** 52 }],
    ['leaves a slot out', plain, { memberBlocks: [memberBlocks] }],
    ['uses more of a member than there is', plain, { memberBlocks: [memberBlocks, memberBlocks + 1] }],
    ['uses less than nothing', plain, { memberBlocks: [memberBlocks, -1] }],
    ['is split at boundaries of 0 blocks', plain, { splitOnBoundary: true }],
    ['has a boundary below 0', plain, { optimalIoBoundary: -8 }],
    ['has write units of 0 blocks', plain, { writeUnitSize: 0 }],
    ['has stripes without redundancy', plain, { stripe: { arrayBlocks: 1, memberBlocks: 1 } }],
    ['has stripes of 0 blocks of a member', mirror, { stripe: { arrayBlocks: 1, memberBlocks: 0 } }],
    ['has stripes of 0 blocks', mirror, { stripe: { arrayBlocks: 0, memberBlocks: 1 } }],
    ['has stripes of no number', mirror, { stripe: { arrayBlocks: 1, memberBlocks: NaN } }],
    ['ends within a stripe', mirror, { stripe: { arrayBlocks: 3, memberBlocks: 3 } }],
    ['has stripes past the end of a member', mirror, { stripe: { arrayBlocks: 1, memberBlocks: 2 } }],
    ['has members shorter than its stripes', mirror, { memberBlocks: [memberBlocks, memberBlocks - 1] }],
  ])('%s', async (_what, manifest, geometry) => {
    await expect(create(moduleOf(manifest, {}, geometry))).rejects.toMatchObject({ code: 'ERR_RAID_MODULE' });
  });

  it('lacks the stripes of redundancy', async () => {
    const geometry = { numBlocks: memberBlocks, memberBlocks: [memberBlocks, memberBlocks] };
    await expect(create(moduleOf(mirror, { geometry }))).rejects.toThrow(/stripe must be there with redundancy/);
  });
});

describe('an array is not started by a level that', () => {
  const none = { submitRwRequest: undefined } as unknown as Partial<RaidLevel>;
  it.each<[string, RaidManifest, Partial<RaidLevel>]>([
    ['reads and writes nothing', plain, none],
    ['cannot write zeroes, and says so', { ...plain, nullPayload: true }, {}],
    ['writes zeroes, and does not say so', plain, { submitNullPayloadRequest: () => undefined }],
    ['cannot grow, and says that it can', { ...plain, resize: true }, {}],
    ['grows, and does not say so', plain, { resize: () => null }],
    ['reconstructs nothing', mirror, { submitReconstructRequest: undefined } as unknown as Partial<RaidLevel>],
    ['does not say what a resync is to work out', mirror, { redundantSlots: undefined } as unknown as Partial<RaidLevel>],
    ['is told of journal entries, and does not say so', plain, { onJournaled: () => undefined }],
  ])('%s', async (_what, manifest, level) => {
    await expect(create(moduleOf(manifest, level))).rejects.toMatchObject({ code: 'ERR_RAID_MODULE' });
  });
});

it('an array does not grow to a geometry that its members do not have', async () => {
  const warnings: string[] = [];
  const nothing = (): void => undefined;
  const log = {
    debug: nothing,
    info: nothing,
    warn: nothing,
    error: (fields: object) => void warnings.push(String((fields as { err?: unknown }).err)),
  };
  const rig = newRig({ log });
  const grown = { numBlocks: 3 * memberBlocks, memberBlocks: [3 * memberBlocks, 3 * memberBlocks] };
  rig.arrays.modules.register(moduleOf({ ...plain, resize: true }, { resize: () => grown }));
  for (let index = 0; index < 2; index++) {
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(memberBlocks * 512) });
  }
  await rig.arrays.create({ name: 'a', level: 'strange', baseBdevs: ['m0', 'm1'] });
  for (const name of ['m0', 'm1']) rig.registry.get(name)?.resize(2 * memberBlocks);
  await until(() => warnings.some((warning) => warning.includes('of 4096 that there are')), 'it is refused');
  expect(openVolume(rig, 'a').numBlocks).toBe(memberBlocks);
  expect(arrayOf(rig, 'a').slots[0]?.dataSize).toBe(memberBlocks);
});

describe('a module is not registered whose manifest', () => {
  it.each<[string, object]>([
    ['does not say whether there are strips', { manifest: { ...plain, stripSize: undefined } }],
    ['does not say whether there is redundancy', { manifest: { ...plain, redundant: undefined } }],
    ['says "yes"', { manifest: { ...plain, nullPayload: 'yes' } }],
    ['says 1', { manifest: { ...plain, resize: 1 } }],
    ['journals without redundancy', { manifest: { ...plain, journal: true } }],
    [
      'journals where two may be missing',
      { manifest: { ...mirror, journal: true }, baseBdevsMin: 4, baseBdevsConstraint: { maxRemoved: 2 } },
    ],
    ['journals on copies', { manifest: { ...mirror, journal: true }, baseBdevsConstraint: { minOperational: 1 } }],
    ['lets no number be missing', { manifest: mirror, baseBdevsConstraint: { maxRemoved: NaN } }],
    ['lets half a member be missing', { manifest: mirror, baseBdevsConstraint: { maxRemoved: 0.5 } }],
    ['needs no member', { manifest: mirror, baseBdevsConstraint: { minOperational: 0 } }],
  ])('%s', (_what, changes) => {
    const module: RaidModule = { ...moduleOf(plain, {}), ...changes };
    let code: unknown = null;
    try {
      new RaidModuleRegistry().register(module);
    } catch (error) {
      ({ code } = error as { code: unknown });
    }
    expect(code).toBe('ERR_RAID_MODULE');
  });
});
