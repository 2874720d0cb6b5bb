import { Status } from '@raidkit/bdev';
import { RaidModuleRegistry, raidApiVersion, thirdPartyCodes } from '@raidkit/core';
import type {
  CopySet,
  LevelDescription,
  ProcessRequest,
  RaidGeometry,
  RaidLevel,
  RaidManifest,
  RaidModule,
  RwRequest,
} from '@raidkit/core';
import { describe, expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/** Blocks of each of the two members. */
const memberBlocks = 2048;

interface Declared extends RaidManifest {
  redundant?: boolean;
}

const plain: Declared = { stripSize: 'none', nullPayload: false, resize: false };
const mirror: Declared = { ...plain, redundant: true };

function moduleOf(declared: Declared, level: Partial<RaidLevel>, geometry: Partial<RaidGeometry> = {}): RaidModule {
  const { redundant = false, ...manifest } = declared;
  const methods = {
    submitRw: (request: RwRequest) => request.readPart(0, request.offsetBlocks, request.numBlocks, request.addr),
    ...(redundant
      ? { submitProcessRequest: (request: ProcessRequest) => request.fail(Status.NotSupported), copyGroups: [[0, 1]] }
      : {}),
  };
  const sound = {
    numBlocks: memberBlocks,
    memberBlocks: [memberBlocks, memberBlocks],
    ...(redundant ? { stripe: { arrayBlocks: 1, memberBlocks: 1 } } : {}),
  };
  return {
    level: 'strange',
    aliases: [],
    code: thirdPartyCodes.first,
    apiVersion: raidApiVersion,
    manifest,
    baseBdevsMin: 2,
    ...(redundant ? ({ redundancy: 'copies', maxMissing: 1 } as const) : ({ redundancy: 'none' } as const)),
    start: () => ({ resize: () => ({ ...sound, ...geometry }), ...methods, ...level }),
  } as RaidModule;
}

function setsOf(...places: readonly (readonly [slot: number, offsetBlocks: number])[]): CopySet[] {
  return [{ numBlocks: 1, places: places.map(([slot, offsetBlocks]) => ({ slot, offsetBlocks })) }];
}

/** A level whose copies have these places, in stripes of one block. */
function spread(...places: readonly (readonly [slot: number, offsetBlocks: number])[]): Partial<RaidLevel> {
  return { copyGroups: undefined, copySets: setsOf(...places) } as unknown as Partial<RaidLevel>;
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
  it.each<[string, Declared, Partial<RaidGeometry>]>([
    ['has no number of blocks', plain, { numBlocks: NaN }],
    ['has half blocks', plain, { numBlocks: 10.5 }],
    ['has more blocks than bytes can be counted', plain, { numBlocks: 2 ** 52 }],
    ['has more blocks than its members', plain, { numBlocks: 1_000_000_000 }],
    ['has one block more than its members', plain, { numBlocks: 2 * memberBlocks + 1 }],
    ['has less than no blocks', plain, { numBlocks: -1 }],
    ['has a slot too many', plain, { memberBlocks: [memberBlocks, memberBlocks, 0] }],
    ['has half a block of a member', plain, { memberBlocks: [memberBlocks, 10.5] }],
    ['has write units of no number', plain, { writeUnitSize: NaN }],
    ['has a boundary of no number', plain, { optimalIoBoundary: NaN }],
    ['leaves a slot out', plain, { memberBlocks: [memberBlocks] }],
    ['uses more of a member than there is', plain, { memberBlocks: [memberBlocks, memberBlocks + 1] }],
    ['uses less than nothing', plain, { memberBlocks: [memberBlocks, -1] }],
    ['is split at boundaries of 0 blocks', plain, { splitOnBoundary: true }],
    ['has a boundary below 0', plain, { optimalIoBoundary: -8 }],
    ['has write units of 0 blocks', plain, { writeUnitSize: 0 }],
    ['has stripes without redundancy', plain, { stripe: { arrayBlocks: 1, memberBlocks: 1 } }],
    ['has stripes of 0 blocks of a member', mirror, { stripe: { arrayBlocks: 1, memberBlocks: 0 } }],
    ['has stripes of 0 blocks', mirror, { stripe: { arrayBlocks: 0, memberBlocks: 1 } }],
    [
      'has more blocks in a stripe than a copy has',
      mirror,
      { numBlocks: 2 * memberBlocks, stripe: { arrayBlocks: 2, memberBlocks: 1 } },
    ],
    ['has stripes of no number', mirror, { stripe: { arrayBlocks: 1, memberBlocks: NaN } }],
    ['ends within a stripe', mirror, { stripe: { arrayBlocks: 3, memberBlocks: 3 } }],
    ['has stripes past the end of a member', mirror, { stripe: { arrayBlocks: 1, memberBlocks: 2 } }],
    ['has members shorter than its stripes', mirror, { memberBlocks: [memberBlocks, memberBlocks - 1] }],
  ])('%s', async (_what, manifest, geometry) => {
    await expect(create(moduleOf(manifest, {}, geometry))).rejects.toMatchObject({ code: 'ERR_RAID_MODULE' });
  });

  it('takes all of its members', async () => {
    const { rig } = await create(moduleOf(plain, {}, { numBlocks: 2 * memberBlocks }));
    expect(arrayOf(rig, 'a').state).toBe('online');
  });

  it.each<[string, Declared, Partial<RaidLevel>, Partial<RaidGeometry>, RegExp]>([
    ['numBlocks', plain, {}, { numBlocks: 1_000_000_000 }, /numBlocks is 1000000000, of 4096 in memberBlocks/],
    [
      'the copies of its sets',
      mirror,
      spread([0, 0], [1, 0]),
      { numBlocks: 2 * memberBlocks, stripe: { arrayBlocks: 2, memberBlocks: 1 } },
      /stripe\.arrayBlocks is 2, and its redundancy leaves room for 1 blocks/,
    ],
  ])('is told which field is wrong, and its limit: %s', async (_field, declared, level, geometry, message) => {
    await expect(create(moduleOf(declared, level, geometry))).rejects.toThrow(message);
  });

  it('lacks the stripes of redundancy', async () => {
    const geometry = { numBlocks: memberBlocks, memberBlocks: [memberBlocks, memberBlocks] };
    await expect(create(moduleOf(mirror, { resize: () => geometry }))).rejects.toThrow(/stripe is required with redundancy/);
  });
});

describe('an array is not started by a level that', () => {
  const none = { submitRw: undefined } as unknown as Partial<RaidLevel>;
  it.each<[string, Declared, Partial<RaidLevel>]>([
    ['reads and writes nothing', plain, none],
    ['cannot write zeroes, and says so', { ...plain, nullPayload: true }, {}],
    ['writes zeroes, and does not say so', plain, { submitNullPayload: () => undefined }],
    ['has no size', plain, { resize: undefined } as unknown as Partial<RaidLevel>],
    ['reconstructs nothing', mirror, { submitProcessRequest: undefined } as unknown as Partial<RaidLevel>],
    ['does not say where copies are', mirror, { copyGroups: undefined } as unknown as Partial<RaidLevel>],
    ['says twice where copies are', mirror, { copySets: setsOf([0, 0], [1, 0]) }],
    ['works out blocks of copies', mirror, { redundantSlots: () => [1] }],
    ['copies to a slot that it has not', mirror, { copyGroups: [[0, 2]] }],
    ['copies no slot 1', mirror, { copyGroups: [[0]] }],
    ['copies slot 1 twice', mirror, { copyGroups: [[0, 1], [1]] }],
    ['spreads copies to a slot that it has not', mirror, spread([0, 0], [2, 0])],
    ['spreads copies past a stripe', mirror, spread([0, 0], [1, 1])],
    ['spreads copies over a part of a stripe', mirror, spread([0, 0])],
    ['spreads copies over one slot', mirror, spread([0, 0], [0, 0])],
    ['has groups of copies, and no redundancy', plain, { copyGroups: [[0, 1]] }],
    ['is told of journal entries, and does not say so', plain, { onJournaled: () => undefined }],
  ])('%s', async (_what, manifest, level) => {
    await expect(create(moduleOf(manifest, level))).rejects.toMatchObject({ code: 'ERR_RAID_MODULE' });
  });
});

const larger = 2 * memberBlocks;
it.each<[string, Declared, Partial<RaidGeometry>, string]>([
  ['its members do not have', plain, { memberBlocks: [3 * memberBlocks, 3 * memberBlocks] }, 'but it has only 4096'],
  ['takes blocks from a member', plain, { memberBlocks: [larger, 1024] }, 'memberBlocks of slot 1 is 1024, after 2048'],
  ['has other stripes', mirror, { stripe: { arrayBlocks: 2, memberBlocks: 2 } }, 'another stripe than before'],
])('an array does not grow to a geometry that %s', async (_what, declared, geometry, message) => {
  const warnings: string[] = [];
  const nothing = (): void => undefined;
  const log = {
    debug: nothing,
    info: nothing,
    warn: nothing,
    error: (fields: object) => void warnings.push(String((fields as { err?: unknown }).err)),
  };
  const rig = newRig({ log });
  const stripe = declared.redundant === true ? { stripe: { arrayBlocks: 1, memberBlocks: 1 } } : {};
  const small = { numBlocks: memberBlocks, memberBlocks: [memberBlocks, memberBlocks], ...stripe };
  const grown = { numBlocks: larger, memberBlocks: [larger, larger], ...stripe, ...geometry };
  rig.arrays.modules.register(
    moduleOf(
      { ...declared, resize: true },
      { resize: (capacities, current) => (current === null || Math.min(...capacities) < larger ? small : grown) },
    ),
  );
  for (let index = 0; index < 2; index++) {
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(memberBlocks * 512) });
  }
  await rig.arrays.create({ name: 'a', level: 'strange', baseBdevs: ['m0', 'm1'] });
  for (const name of ['m0', 'm1']) rig.registry.get(name)?.resize(larger);
  await until(() => warnings.some((warning) => warning.includes(message)), 'it is refused');
  expect(openVolume(rig, 'a').numBlocks).toBe(memberBlocks);
  expect(arrayOf(rig, 'a').slots[0]?.dataSize).toBe(memberBlocks);
});

describe('a module is not registered that', () => {
  const copies = { redundancy: 'copies', maxMissing: 1 };
  const parity = { redundancy: 'parity', maxMissing: 1, journal: false };
  it.each<[string, object, RegExp]>([
    ['does not say whether there are strips', { manifest: { ...plain, stripSize: undefined } }, /manifest\.stripSize/],
    ['says "yes"', { manifest: { ...plain, nullPayload: 'yes' } }, /manifest\.nullPayload/],
    ['says 1', { manifest: { ...plain, resize: 1 } }, /manifest\.resize/],
    ['has no manifest', { manifest: undefined }, /manifest\.stripSize/],
    ['does not say whether there is redundancy', { redundancy: undefined }, /redundancy must be none, copies or parity/],
    ['says that it is redundant', { redundancy: true }, /redundancy must be none, copies or parity/],
    ['journals without redundancy', { journal: true }, /journal must be/],
    ['journals on copies', { ...copies, journal: true }, /journal must be/],
    ['does not say whether parity is journaled', { ...parity, journal: undefined }, /journal must be/],
    ['may miss members without redundancy', { maxMissing: 1 }, /maxMissing is for levels with redundancy/],
    ['chooses members without redundancy', { canRun: () => true }, /canRun is for levels with redundancy/],
    ['does not say how many may be missing', { ...copies, maxMissing: undefined }, /maxMissing must be a number or a function/],
    ['lets no number be missing', { ...copies, maxMissing: NaN }, /maxMissing must be 1 to 1 for 2 slots, not NaN/],
    ['lets half a member be missing', { ...copies, maxMissing: 0.5 }, /maxMissing must be 1 to 1 for 2 slots/],
    ['lets none be missing', { ...copies, maxMissing: 0 }, /maxMissing must be 1 to 1 for 2 slots/],
    ['needs no member', { ...copies, maxMissing: 2 }, /maxMissing must be 1 to 1 for 2 slots/],
    ['needs no member of seven', { ...copies, maxMissing: (slots: number) => (slots === 7 ? 7 : 1) }, /for 7 slots, not 7/],
    ['has a rule that is none', { ...copies, canRun: [[0, 1]] }, /canRun must be a function/],
    ['has sizes that are no rule', { acceptsSlots: 4 }, /acceptsSlots must be a function/],
  ])('%s', (_what, changes, message) => {
    const module = { ...moduleOf(plain, {}), ...changes };
    let error: unknown = null;
    try {
      new RaidModuleRegistry().register(module);
    } catch (reason) {
      error = reason;
    }
    expect(error).toMatchObject({ code: 'ERR_RAID_MODULE', message: expect.stringMatching(message) as unknown });
  });
});

it.each<[unknown, RegExp]>([
  ['copies', /options must be an object/],
  [{ Copies: { type: 'any', description: 'x' } }, /options\.Copies: its name must be/],
  [{ copies: { type: 'any' } }, /options\.copies: description must be/],
  [{ copies: { type: 'number', description: 'x' } }, /type must be boolean, integer, string or any/],
  [{ copies: { type: 'integer', minimum: 2, default: 2, description: 'x' } }, /minimum and maximum must be integers/],
  [
    { copies: { type: 'integer', minimum: 2, maximum: 3, default: 4, description: 'x' } },
    /default must be an integer from 2 to 3/,
  ],
  [{ order: { type: 'string', enum: 'up', default: 'up', description: 'x' } }, /enum must be a list of strings/],
  [{ fast: { type: 'boolean', description: 'x' } }, /default must be true or false/],
])('a module that says of its options %o is refused', (options, message) => {
  const module = { ...moduleOf(plain, {}), options } as unknown as RaidModule;
  expect(() => new RaidModuleRegistry().register(module)).toThrow(message);
});

describe('what a level states of itself', () => {
  it('is how much memory it needs: where there is not as much, nothing is written', async () => {
    const module = { ...moduleOf(plain, {}), memoryBytes: () => 2 ** 40 } as RaidModule;
    await expect(create(module)).rejects.toMatchObject({
      code: 'ERR_RAID_MEMORY',
      message: expect.stringMatching(/2 slots level strange needs 1099511627776 bytes .* \d+ of \d+ are free/) as string,
    });
    await expect(create({ ...module, memoryBytes: () => NaN })).rejects.toMatchObject({ code: 'ERR_RAID_MODULE' });
    const { rig } = await create({ ...module, memoryBytes: ({ numSlots }) => numSlots });
    expect(arrayOf(rig, 'a').state).toBe('online');
  });

  it('is shown if people can read it, and an array whose level throws when it is asked stays online', async () => {
    const facts = {
      layout: 'near',
      copies: 2,
      is_even: true,
      Odd: 1,
      nothing: null,
      endless: Infinity,
      long: 'x'.repeat(1000),
    };
    const { rig } = await create(moduleOf(plain, { describe: () => facts as unknown as LevelDescription }));
    expect(arrayOf(rig, 'a').describeLevel()).toEqual({ layout: 'near', copies: 2, is_even: true });
    const throwing = await create(
      moduleOf(plain, {
        describe() {
          throw new Error('no');
        },
      }),
    );
    expect(arrayOf(throwing.rig, 'a').describeLevel()).toEqual({});
    expect(arrayOf(throwing.rig, 'a').state).toBe('online');
  });
});
