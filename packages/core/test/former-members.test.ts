import { IoType, Status } from '@raidkit/bdev';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, superblockOf } from '../../../test/support/array-on-disks.js';
import { RamDisk, plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/*
 * A former member is accepted, to be filled from the start, and a crash leaves its former superblock on it. That superblock
 * counts out a member that is current now, so a number is all that tells it from one that was written without the others.
 */

const MiB = 1 << 20;
const firstDataBlock = 2048;

/** An array that is up: m0 and m2 are current, m1 is absent, and its superblock counts m2 out. */
interface Up {
  rig: Rig;
  m0: RamDisk;
  m2: RamDisk;
  /** An image of m1 with its last superblock, and fewer pages than it had when it left. */
  former: Uint8Array;
}

async function plug({ registry }: Rig, index: number, bytes: Uint8Array): Promise<RamDisk> {
  return (await plugIn(registry, { name: `m${index}`, uuid: memberUuid(index), bytes: bytes.slice() })).disk;
}

function bytesOf({ registry }: Rig, index: number): Uint8Array {
  const driver = registry.get(`m${index}`)?.driver;
  if (!(driver instanceof RamDisk)) throw new Error(`there is no m${index}`);
  return driver.bytes;
}

async function unplug({ registry }: Rig, index: number): Promise<void> {
  await registry.unregister(registry.get(`m${index}`)!);
}

async function withFormerMember(): Promise<Up> {
  const rig = newRig();
  const [m0, m1, gone] = await Promise.all([0, 1, 2].map((index) => plug(rig, index, new Uint8Array(3 * MiB))));
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1', 'm2'], superblock: true });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 1));
  await unplug(rig, 2);
  await arrayOf(rig, 'a').leaveRecorded();
  const former = m1!.bytes.slice();
  await volume.write(2048, blocks(64, 2));
  await unplug(rig, 1);
  await arrayOf(rig, 'a').leaveRecorded();
  await volume.write(0, blocks(64, 3));
  const m2 = await plug(rig, 2, gone!.bytes);
  await until(() => arrayOf(rig, 'a').numInSync === 2 && arrayOf(rig, 'a').process === null, 'm2 is back');
  expect(superblockOf(m2).members.map(({ state }) => state)).toEqual([1, 0, 1]);
  volume.descriptor.close();
  return { rig, m0: m0!, m2, former };
}

/** Runs the array on this image of m1 alone, so that it has writes that the others lack. */
async function usedAlone(image: Uint8Array): Promise<Uint8Array> {
  const rig = newRig();
  const { bytes } = await plug(rig, 1, image);
  await rig.arrays.startDegraded('a');
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(64, 9));
  volume.descriptor.close();
  await rig.arrays.stop();
  return bytes;
}

/** A check runs, and does not end, so that a rebuild waits. */
async function checkForever({ rig, m0 }: Up): Promise<void> {
  m0.fault = ({ type, offsetBlocks }) => (type === IoType.Read && offsetBlocks >= firstDataBlock ? null : Status.Ok);
  rig.arrays.startSync('a', 'check');
  await until(() => m0.held.length > 0, 'a check runs');
}

async function end({ rig, m0, m2 }: Up): Promise<void> {
  for (const disk of [m0, m2]) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  }
  await rig.arrays.stop();
}

/** What a start finds after a crash. */
async function start(images: ReadonlyMap<number, Uint8Array>, order = [...images.keys()]): Promise<Rig> {
  const rig = newRig({ assembly: { absentWaitMs: images.has(1) ? 5000 : 0 } });
  for (const index of order) await plug(rig, index, images.get(index)!);
  await rig.registry.waitForExamine();
  return rig;
}

async function expectFilled(rig: Rig, numInSync: number): Promise<void> {
  expect(arrayOf(rig, 'a').startError).toBeNull();
  await until(() => arrayOf(rig, 'a').numInSync === numInSync && arrayOf(rig, 'a').process === null, 'all are current');
  const volume = openVolume(rig, 'a');
  for (let round = 0; round < 6; round++) {
    expect(Buffer.compare(await volume.read(0, 64), blocks(64, 3))).toBe(0);
    expect(Buffer.compare(await volume.read(2048, 64), blocks(64, 2))).toBe(0);
  }
  volume.descriptor.close();
  await rig.arrays.stop();
}

function expectRefused(rig: Rig): Promise<void> {
  expect(arrayOf(rig, 'a').startError).toMatch(/slot 1 .* used without each other/);
  return rig.arrays.stop();
}

const orders = [
  [0, 1, 2],
  [1, 2, 0],
  [2, 0, 1],
];

it.each([0, 3])(
  'a superblock that was there when its member was accepted is no split brain, %i updates later',
  async (more) => {
    const up = await withFormerMember();
    await checkForever(up);
    await plug(up.rig, 1, up.former);
    const array = arrayOf(up.rig, 'a');
    expect(array.slots[1]!.isRebuilding).toBe(true);
    for (let round = 0; round <= more; round++) await array.metadata.update();
    const images = new Map([
      [0, up.m0.bytes],
      [1, up.former],
      [2, up.m2.bytes],
    ]);
    for (const order of orders) await expectFilled(await start(images, order), 3);
    // The number is kept over further starts.
    const without = await start(new Map([...images].filter(([index]) => index !== 1)));
    await until(() => arrayOf(without, 'a').state === 'online', 'it starts without m1');
    const later = [0, 2].map((index) => [index, bytesOf(without, index).slice()] as const);
    await without.arrays.stop();
    await expectFilled(await start(new Map([...later, [1, up.former]])), 3);
    await end(up);
  },
);

it('a member that was used without the others after it was accepted is a split brain', async () => {
  const up = await withFormerMember();
  await checkForever(up);
  await plug(up.rig, 1, up.former);
  // The other half has a lower number by far.
  for (let round = 0; round < 10; round++) await arrayOf(up.rig, 'a').metadata.update();
  const alone = await usedAlone(up.former);
  const images = new Map([
    [0, up.m0.bytes],
    [1, alone],
    [2, up.m2.bytes],
  ]);
  for (const order of orders) await expectRefused(await start(images, order));
  // The same half after a run of SPDK's.
  const foreign = up.former.slice();
  const superblock = superblockOf(new RamDisk(up.rig.registry, foreign, 512));
  foreign.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
  await expectRefused(await start(images.set(1, foreign)));
  await end(up);
});

it('writes that a person discards by adding a device are discarded after a crash too', async () => {
  const up = await withFormerMember();
  await checkForever(up);
  const alone = await usedAlone(up.former);
  await arrayOf(up.rig, 'a').metadata.update();
  await arrayOf(up.rig, 'a').metadata.update();
  await plug(up.rig, 1, alone);
  expect(arrayOf(up.rig, 'a').slots[1]!.isRebuilding).toBe(false);
  await up.rig.arrays.addBaseBdev('a', 'm1');
  await arrayOf(up.rig, 'a').metadata.update();
  const images = new Map([
    [0, up.m0.bytes],
    [1, alone],
    [2, up.m2.bytes],
  ]);
  for (const order of orders) await expectFilled(await start(images, order), 3);
  // But not what it has got since.
  await expectRefused(await start(images.set(1, await usedAlone(alone))));
  await end(up);
});

it.each([
  ['waits for its turn', true],
  ['is being filled', false],
])(
  'a device that is to take its place, and %s, makes no difference to a former member before that is recorded',
  async (_what, waits) => {
    const up = await withFormerMember();
    for (let round = 0; round < 10; round++) await arrayOf(up.rig, 'a').metadata.update();
    if (waits) await checkForever(up);
    // The headers of the round that records m3 are written, and its superblocks are not.
    for (const disk of [up.m0, up.m2]) {
      const { fault } = disk;
      disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks === 0 ? null : fault(io));
    }
    await plug(up.rig, 3, new Uint8Array(3 * MiB));
    await up.rig.arrays.addBaseBdev('a', 'm3');
    const recorded = waits ? arrayOf(up.rig, 'a').metadata.update() : null;
    const isSuperblock = ({ held }: Pick<RamDisk, 'held'>): boolean => held.some(({ offsetBlocks }) => offsetBlocks === 0);
    await until(() => isSuperblock(up.m0) && isSuperblock(up.m2), 'headers are written');
    const others = [[0, up.m0.bytes.slice()] as const, [2, up.m2.bytes.slice()] as const];
    for (const order of orders) await expectFilled(await start(new Map([...others, [1, up.former]]), order), 3);
    const alone = await usedAlone(up.former);
    for (const order of orders) await expectRefused(await start(new Map([...others, [1, alone]]), order));
    await end(up);
    await recorded;
  },
);
