import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo, BlockClient } from '@raidkit/bdev';
import { raidApiVersion } from '@raidkit/core';
import type { RaidModule } from '@raidkit/core';
import { describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const dataStart = 2048;
const journal = { start: 1024, end: 2048 };
/** Blocks of a strip, and of a stripe of raid5f with four members. */
const strip = 32;
const stripe = 3 * strip;

function isJournal({ type, offsetBlocks }: BdevIo): boolean {
  return type === IoType.Write && offsetBlocks >= journal.start && offsetBlocks < journal.end;
}

function isData(wanted: IoType): (io: BdevIo) => boolean {
  return ({ type, offsetBlocks }) => type === wanted && offsetBlocks >= dataStart;
}

/** Makes the disks hold the matching I/O; returns a function that releases it. */
function holdBack(disks: readonly RamDisk[], isMeant: (io: BdevIo) => boolean): () => void {
  for (const disk of disks) disk.fault = (io) => (isMeant(io) ? null : Status.Ok);
  return () => {
    for (const disk of disks) {
      disk.fault = () => Status.Ok;
      for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    }
  };
}

function heldBy(disks: readonly RamDisk[]): number {
  return disks.reduce((sum, disk) => sum + disk.held.length, 0);
}

/** A raid5f of four without its last member, with eight stripes of `o` on stable media. */
async function buildDegraded(): Promise<Built> {
  const built = await build('raid5f', 4);
  await built.volume.write(0, blocks(8 * stripe, 0x6f));
  await built.rig.arrays.removeBaseBdev('m3');
  await built.volume.write(0, blocks(8 * stripe, 0x6f));
  await built.volume.flush();
  return built;
}

/** Whether each write was acknowledged. */
async function outcomes(writes: readonly Promise<void>[]): Promise<boolean[]> {
  return (await Promise.allSettled(writes)).map(({ status }) => status === 'fulfilled');
}

/** The array with m0 again, which was removed or went away; m3 is still out. No user has the volume open. */
async function startAgain({ disks, rig }: Built): Promise<BlockClient> {
  if (rig.registry.get('m0') === undefined) {
    // An array that is offline is put together anew when a device of it appears.
    await plugIn(rig.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes });
  } else {
    await rig.arrays.delete('a');
    for (const name of ['m0', 'm1', 'm2']) await rig.arrays.examine(rig.registry.get(name)!);
  }
  await until(() => rig.arrays.get('a')?.state === 'online', 'it is up again');
  return openVolume(rig, 'a');
}

/** Part of each strip of the first four stripes; `k` counts the strips. */
const places = Array.from({ length: 12 }, (_, k) => ({ start: k * strip + 8, count: 16 }));

async function expectNothingLost(volume: BlockClient, acknowledged: readonly boolean[]): Promise<void> {
  const data = await volume.read(0, 8 * stripe);
  const isIn = (block: number): number => places.findIndex(({ start, count }) => block >= start && block < start + count);
  for (let block = 0; block < 8 * stripe; block++) {
    const byte = data[block * 512];
    const place = isIn(block);
    expect(
      data.subarray(block * 512, (block + 1) * 512).every((other) => other === byte),
      `block ${block} is of one piece`,
    ).toBe(true);
    if (place < 0) expect(byte, `block ${block}, which was not written`).toBe(0x6f);
    else if (acknowledged[place] === true) expect(byte, `block ${block}, acknowledged`).toBe(0x4e);
    else expect([0x6f, 0x4e], `block ${block}`).toContain(byte);
  }
}

describe('a second member of a raid5f leaves', () => {
  it.each([
    [
      'is removed, while writes wait for their journal entries',
      isJournal,
      (built: Built) => built.rig.arrays.removeBaseBdev('m0'),
    ],
    [
      'goes away, while writes wait for their journal entries',
      isJournal,
      (built: Built) => built.rig.registry.unregister(built.rig.registry.get('m0')!),
    ],
    [
      'is removed, while writes wait for what they read',
      isData(IoType.Read),
      (built: Built) => built.rig.arrays.removeBaseBdev('m0'),
    ],
    [
      'goes away, while writes wait for what they read',
      isData(IoType.Read),
      (built: Built) => built.rig.registry.unregister(built.rig.registry.get('m0')!),
    ],
  ] as const)('%s: what is acknowledged is there when it comes back', async (_what, isMeant, leave) => {
    const built = await buildDegraded();
    const { disks, rig, volume } = built;
    const release = holdBack(disks, isMeant);
    const writes = places.map(({ start, count }) => volume.write(start, blocks(count, 0x4e), { fua: true }));
    const done = outcomes(writes);
    await until(() => heldBy(disks) > 0, 'some wait');
    const left = leave(built);
    await until(() => arrayOf(rig, 'a').state === 'offline', 'the array goes offline');
    release();
    const acknowledged = await done;
    expect(acknowledged).toContain(false);
    volume.descriptor.close();
    await left;
    await expectNothingLost(await startAgain(built), acknowledged);
  });

  it('while zeros for whole stripes wait for another write: they are not acknowledged', async () => {
    const rig = newRig();
    const disks: RamDisk[] = [];
    for (let index = 0; index < 4; index++) {
      disks.push(
        (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(1 << 20) })).disk,
      );
    }
    // Without superblocks, and so without a journal, stripes are zeroed as a whole.
    await rig.arrays.create({ name: 'a', level: 'raid5f', baseBdevs: disks.map((_, index) => `m${index}`), stripSizeKb: 16 });
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(4 * stripe, 0x6f));
    await rig.arrays.removeBaseBdev('m3');
    const release = holdBack(disks, ({ type }) => type === IoType.Write);
    const first = outcomes([volume.write(0, blocks(8, 0x4e))]);
    await until(() => heldBy(disks) > 0, 'a write is under way');
    const zeros = outcomes([volume.writeZeroes(0, 2 * stripe)]);
    const left = rig.arrays.removeBaseBdev('m0');
    await until(() => arrayOf(rig, 'a').state === 'offline', 'the array goes offline');
    release();
    expect([...(await first), ...(await zeros)]).toEqual([false, false]);
    volume.descriptor.close();
    await left;
    expect(disks[1]!.bytes.subarray(strip * 512, 2 * strip * 512).every((byte) => byte === 0x6f)).toBe(true);
  });
});

it('a member leaves a complete raid5f while a write waits for what it reads: the write is acknowledged, and parity stands for it', async () => {
  const { disks, rig, volume } = await build('raid5f', 4);
  await volume.write(0, blocks(8 * stripe, 0x6f));
  const release = holdBack(disks, isData(IoType.Read));
  const done = outcomes(places.map(({ start, count }) => volume.write(start, blocks(count, 0x4e), { fua: true })));
  await until(() => heldBy(disks) > 0, 'they read');
  const left = rig.arrays.removeBaseBdev('m0');
  await until(() => arrayOf(rig, 'a').numInSync === 3, 'it leaves');
  release();
  const acknowledged = await done;
  await left;
  expect(acknowledged).not.toContain(false);
  await expectNothingLost(volume, acknowledged);
});

it.each([
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
] as const)('%s acknowledges no write that its last needed member has left meanwhile', async (level, members) => {
  const { disks, rig, volume } = await build(level, members);
  await volume.write(0, blocks(256, 0x6f));
  if (level === 'raid1') await rig.arrays.removeBaseBdev('m1');
  const release = holdBack(disks, isData(IoType.Write));
  // The second one waits for the first: at the mirror, which has overlapping writes follow one another.
  const done = outcomes([volume.write(0, blocks(128, 0x4e)), volume.write(0, blocks(128, 0x4f))]);
  await until(() => disks[0]!.held.length > 0, 'it is asked');
  const left = rig.arrays.removeBaseBdev('m0');
  await until(() => arrayOf(rig, 'a').state === 'offline', 'the array goes offline');
  release();
  expect(await done).not.toContain(true);
  volume.descriptor.close();
  await left;
});

/** This level skips members that were removed, and reports success. */
const careless: RaidModule = {
  level: 'careless',
  aliases: [],
  code: 0x7ffe,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: false, resize: false },
  redundancy: 'none',
  baseBdevsMin: 2,
  start: () => ({
    resize: (capacities) => ({ numBlocks: capacities[0] ?? 0, memberBlocks: capacities }),
    submitRw(request) {
      if (request.kind === 'read') return;
      request.andThen((written) => {
        if (written.hasMember(1)) written.writePart(1, written.offsetBlocks, written.numBlocks, written.addr);
        written.end();
      });
      request.writePart(0, request.offsetBlocks, request.numBlocks, request.addr);
    },
  }),
};

it.each([
  ['raid1', 2],
  ['raid5f', 4],
] as const)(
  'a member that a stopping %s loses before it has kept what it holds is not current at the next start',
  async (level, members) => {
    const { rig, disks, volume } = await build(level, members);
    await volume.write(0, blocks(96, 0x6f));
    await volume.flush();
    // Further writes to m1 stay in its cache.
    const kept = disks[1]!.bytes.slice();
    await volume.write(0, blocks(96, 0x4e));
    disks[1]!.fault = ({ type }) => (type === IoType.Flush ? null : Status.Ok);
    volume.descriptor.close();
    const stopped = rig.arrays.stop();
    await until(() => disks[1]!.held.length > 0, 'the stop waits for its flush');
    const gone = rig.registry.unregister(rig.registry.get('m1')!);
    for (const io of disks[1]!.held.splice(0)) disks[1]!.finish(io, Status.NoDevice);
    await Promise.all([stopped, gone]);

    const next = newRig();
    const found = disks.map(({ bytes }, index) => (index === 1 ? kept : bytes.slice()));
    for (const [index, bytes] of found.entries())
      await plugIn(next.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    await next.registry.waitForExamine();
    const array = arrayOf(next, 'a');
    await until(() => array.numInSync === members && array.process === null, 'all are in sync');
    const again = openVolume(next, 'a');
    // Checks that the data can be read without any one of the members.
    for (let out = 0; out < members; out++) {
      await next.arrays.removeBaseBdev(`m${out}`);
      expect(await again.read(0, 96)).toEqual(blocks(96, 0x4e));
      await next.arrays.addBaseBdev('a', `m${out}`);
      await until(() => array.numInSync === members && array.process === null, 'it is filled');
    }
    again.descriptor.close();
    await next.arrays.stop();
  },
);

it('a write is not acknowledged by an array that lacks members, whatever its level says', async () => {
  const rig = newRig();
  rig.arrays.modules.register(careless);
  const disks: RamDisk[] = [];
  for (let index = 0; index < 2; index++) {
    disks.push(
      (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(1 << 20) })).disk,
    );
  }
  await rig.arrays.create({ name: 'a', level: 'careless', baseBdevs: ['m0', 'm1'] });
  const volume = openVolume(rig, 'a');
  const release = holdBack([disks[0]!], ({ type }) => type === IoType.Write);
  const done = outcomes([volume.write(0, blocks(8, 1))]);
  await until(() => disks[0]!.held.length > 0, 'it is asked');
  const left = rig.arrays.removeBaseBdev('m1');
  await until(() => arrayOf(rig, 'a').state === 'offline', 'the array goes offline');
  release();
  expect(await done).toEqual([false]);
  // An array that is offline already does not acknowledge it either, while users have not closed it yet.
  volume.descriptor.close();
  await left;
});

it('a slot without a member cannot be failed, and the caller is told', async () => {
  const { rig } = await build('raid1', 3);
  await rig.arrays.failMember('a', 2, 'it was failed on request');
  expect(arrayOf(rig, 'a').slots.map(({ isInSync }) => isInSync)).toEqual([true, true, false]);
  await expect(rig.arrays.failMember('a', 2, 'it was failed on request')).rejects.toThrow('array a: slot 2 has no member');
  await expect(rig.arrays.failMember('a', 3, 'it was failed on request')).rejects.toThrow('array a: slot 3 has no member');
  await rig.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['x', 'y'], superblock: true });
  await expect(rig.arrays.failMember('b', 0, 'it was failed on request')).rejects.toThrow('array b: slot 0 has no member');
});

it('a call that fails a member that is leaving is told that it is out, though that cannot be recorded', async () => {
  const { rig, disks } = await build('raid1', 3);
  const failures: Promise<unknown>[] = [];
  for (const disk of disks)
    disk.fault = ({ type }) => {
      if (type !== IoType.Write) return Status.Ok;
      // The first write records its removal.
      if (failures.length === 0) failures.push(rig.arrays.failMember('a', 2, 'it was failed on request'));
      return Status.IoError;
    };
  await expect(rig.arrays.removeBaseBdev('m2')).rejects.toThrow('could not be written');
  await Promise.all(failures);
  expect(rig.events).toContainEqual(expect.objectContaining({ type: 'memberRemoved', slot: 2, member: 'm2' }));
});

it('a slot knows what disk it had: name, uuid and serial number, also of one that was replaced', async () => {
  const rig = newRig();
  for (const [index, serial] of ['WD-1', 'WD-2', 'WD-3'].entries())
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 << 20), serial });
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  const array = arrayOf(rig, 'a');
  expect(array.slots.map(({ lastMember, serial }) => ({ lastMember, serial }))).toEqual([
    { lastMember: null, serial: 'WD-1' },
    { lastMember: null, serial: 'WD-2' },
  ]);
  await rig.arrays.replaceBaseBdev('a', 'm0', 'm2');
  await array.processEnded;
  expect(array.slots[0]).toMatchObject({ serial: 'WD-3', lastMember: { name: 'm0', uuid: memberUuid(0), serial: 'WD-1' } });
  await rig.arrays.removeBaseBdev('m1');
  expect(array.slots[1]).toMatchObject({ serial: null, lastMember: { name: 'm1', uuid: memberUuid(1), serial: 'WD-2' } });
});
