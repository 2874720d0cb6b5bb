import { IoType, RaidModuleRegistry, Status, canLoseAny, canRun, raidApiVersion } from '@raidkit/core';
import type {
  CopiesModule,
  CopySet,
  ParityModule,
  ProcessRequest,
  ReconstructRequest,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const memberBlocks = 2048;

/**
 * Copies on all members, of which every other one has the blocks of a pair the other way round: each member alone is enough,
 * and what is side by side on two members has nothing to do with each other.
 */
class Swapped {
  readonly copySets: readonly CopySet[];
  readonly #context: RedundantContext;
  readonly #readMore = (request: ReconstructRequest): void => {
    if (request.stepStatus !== Status.Ok) request.fail(request.stepStatus);
    else if (request.a < request.numBlocks) this.#readOne(request);
    else request.end();
  };

  constructor(context: RedundantContext) {
    this.#context = context;
    const slots = Array.from({ length: context.numSlots }, (_, slot) => slot);
    this.copySets = [0, 1].map((block) => ({
      numBlocks: 1,
      places: slots.map((slot) => ({ slot, offsetBlocks: this.#swap(slot, block) })),
    }));
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    return {
      numBlocks: memberBlocks,
      memberBlocks: capacities.map(() => memberBlocks),
      optimalIoBoundary: 1,
      splitOnBoundary: true,
      writeUnitSize: 1,
      splitOnWriteUnit: true,
      stripe: { arrayBlocks: 2, memberBlocks: 2 },
    };
  }

  submitRw(request: RwRequest): void {
    const { addr, offsetBlocks } = request;
    if (request.kind === 'read') request.readPart(0, offsetBlocks, 1, addr);
    else
      for (let slot = 0; slot < this.#context.numSlots; slot++)
        if (request.hasMember(slot)) request.writePart(slot, this.#swap(slot, offsetBlocks), 1, addr);
  }

  submitProcessRequest(request: ProcessRequest): void {
    request.a = 0;
    this.#readOne(request);
  }

  #readOne(request: ReconstructRequest): void {
    const block = this.#swap(request.slot, request.offsetBlocks + request.a);
    const slot = Array.from({ length: this.#context.numSlots }, (_, index) => index).find((index) => request.hasMember(index));
    if (slot === undefined) {
      request.fail(Status.NoDevice);
      return;
    }
    request.andThen(this.#readMore);
    request.readPart(slot, this.#swap(slot, block), 1, request.addr + request.a * this.#context.blockSize);
    request.a++;
  }

  #swap(slot: number, block: number): number {
    return slot % 2 === 0 ? block : block ^ 1;
  }
}

const swapped: CopiesModule = {
  level: 'swapped',
  aliases: [],
  code: 0x1234,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: false, resize: false },
  redundancy: 'copies',
  maxMissing: (numSlots) => numSlots - 1,
  baseBdevsMin: 2,
  start: (context) => new Swapped(context),
};

/** An array of `swapped` in whose first blocks each has its number. */
async function swappedArray(members: number): Promise<{ rig: Rig; disks: RamDisk[] }> {
  const rig = newRig();
  rig.arrays.modules.register(swapped);
  const disks: RamDisk[] = [];
  for (let index = 0; index < members; index++) {
    const bytes = new Uint8Array(MiB + memberBlocks * 512);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.arrays.create({ name: 'a', level: 'swapped', baseBdevs: disks.map((_, index) => `m${index}`), superblock: true });
  const volume = openVolume(rig, 'a');
  for (let block = 0; block < 16; block++) await volume.write(block, blocks(1, block + 1));
  await volume.flush();
  return { rig, disks };
}

/** What the disk's first blocks hold, put in order. */
function held(disk: RamDisk, slot: number): number[] {
  return Array.from({ length: 16 }, (_, block) => disk.bytes[MiB + (slot % 2 === 0 ? block : block ^ 1) * 512] ?? -1);
}

const right = Array.from({ length: 16 }, (_, block) => block + 1);

it('copies that lie at other blocks are not outvoted by what lies beside them', async () => {
  const { rig, disks } = await swappedArray(4);
  const array = arrayOf(rig, 'a');
  disks[2]!.bytes.fill(99, MiB + 4 * 512, MiB + 5 * 512);
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ error: null, mismatchBlocks: 1 });
  rig.arrays.startSync('a', 'repair');
  await array.processEnded;
  expect(array.history[0]).toMatchObject({ type: 'repair', error: null, repairedBlocks: 1 });
  expect(disks.map(held)).toEqual([right, right, right, right]);
});

it('of two copies that lie at other blocks the one that is right is named, or the member that is wrong', async () => {
  const { rig, disks } = await swappedArray(2);
  const array = arrayOf(rig, 'a');
  for (const named of [{ wrong: 1 }, { source: 0 }]) {
    disks[1]!.bytes.fill(99, MiB + 4 * 512, MiB + 5 * 512);
    expect(() => rig.arrays.startSync('a', 'repair')).toThrow(/nothing determines which of two copies is right/);
    rig.arrays.startSync('a', 'repair', named);
    await array.processEnded;
    expect(array.history[0]).toMatchObject({ type: 'repair', error: null, repairedBlocks: 1 });
    expect(disks.map(held)).toEqual([right, right]);
  }
});

it('a copy that cannot be read is given anew from where the other ones are', async () => {
  const { rig, disks } = await swappedArray(2);
  const array = arrayOf(rig, 'a');
  const bad = (MiB + 6 * 512) / 512;
  disks[1]!.bytes.fill(99, bad * 512, (bad + 1) * 512);
  let isBad = true;
  disks[1]!.fault = (io) => {
    const covers = io.offsetBlocks <= bad && bad < io.offsetBlocks + io.numBlocks;
    if (covers && io.type === IoType.Write) isBad = false;
    return covers && isBad && io.type === IoType.Read ? Status.IoError : Status.Ok;
  };
  rig.arrays.startSync('a', 'check');
  await array.processEnded;
  expect(isBad).toBe(false);
  expect(disks.map(held)).toEqual([right, right]);
});

it('after a crash all of them come to be as the first one, each in its own place', async () => {
  const { disks } = await swappedArray(3);
  disks[1]!.bytes.fill(99, MiB + 6 * 512, MiB + 7 * 512);
  const again = newRig();
  again.arrays.modules.register(swapped);
  const copies: RamDisk[] = [];
  for (const [index, { bytes }] of disks.entries())
    copies.push((await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk);
  await until(() => again.arrays.get('a')?.state === 'online', 'it is online');
  await until(() => arrayOf(again, 'a').process === null && arrayOf(again, 'a').bitmap?.regionsToResync === 0, 'it is in sync');
  expect(copies.map(held)).toEqual([right, right, right]);
});

/** Two copies each, on pairs of slots. */
const pairs: CopiesModule = {
  ...raid1,
  level: 'pairs',
  aliases: [],
  code: 0x1235,
  baseBdevsMin: 2,
  acceptsSlots: (numSlots) => numSlots % 2 === 0,
  maxMissing: (numSlots) => numSlots / 2,
  canRun: (_numSlots, missing) => missing.every((slot) => !missing.includes(slot ^ 1)),
};

it('a module says which members may be missing together', () => {
  expect([[0], [0, 2], [1, 2], [0, 1], [0, 1, 2]].map((missing) => canRun(pairs, 4, missing))).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
  expect([[], [0], [0, 2], [0, 1]].map((missing) => canLoseAny(pairs, 4, missing))).toEqual([1, 0, 0, -1]);
  expect([canLoseAny(raid1, 4, [1]), canLoseAny(raid5f, 4, []), canLoseAny(raid5f, 4, [1])]).toEqual([2, 1, 0]);
  const twoParities: ParityModule = { ...raid5f, level: 'two', aliases: [], code: 0x1236, baseBdevsMin: 4, maxMissing: 2 };
  expect([[1], [1, 2], [1, 2, 3]].map((missing) => canRun(twoParities, 5, missing))).toEqual([true, true, false]);
  const registry = new RaidModuleRegistry();
  for (const module of [pairs, twoParities]) registry.register(module);
});

it('an array is not created of a number of members that its level does not take, or without two that belong together', async () => {
  const rig = newRig();
  rig.arrays.modules.register(pairs);
  const create = (baseBdevs: (string | null)[]): Promise<unknown> =>
    rig.arrays.create({ name: 'a', level: 'pairs', baseBdevs, superblock: true });
  await expect(create(['m0', 'm1', 'm2'])).rejects.toThrow(/level pairs does not support 3 members/);
  await expect(create([null, null, 'm2', 'm3'])).rejects.toThrow(/cannot run while the members of slots 0, 1 are all missing/);
  await create([null, 'm1', null, 'm3']);
});
