import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import type { SuperblockStore } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { BadBlocks } from '../src/members/bad-blocks.js';
import { blocks, bytesOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const dataAt = 2048;
/** Blocks that have one checksum. */
const together = 8;
const mostBadRanges = 4;
const { extension } = spdkSuperblockStore;
const store: SuperblockStore = { ...spdkSuperblockStore, extension: { ...extension!, mostBadRanges } };

interface Started {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

async function plugAll(rig: Rig, images: readonly Uint8Array[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  return disks;
}

/** An array whose list takes few ranges, each block of which begins with its number's last seven bits. */
async function make(level: string, members: number, mebibytes = 2): Promise<Started> {
  const rig = newRig({ store });
  const disks = await plugAll(
    rig,
    Array.from({ length: members }, () => new Uint8Array((1 + mebibytes) * MiB)),
  );
  const baseBdevs = disks.map((_, index) => `m${index}`);
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, integrity: true, ...strip });
  const volume = openVolume(rig, 'a');
  await volume.write(0, numbered);
  await volume.flush();
  return { rig, disks, volume };
}

const count = 512;
const numbered = blocks(count, 0);
for (let block = 0; block < count; block++) numbered.fill(block % 128, block * 512, (block + 1) * 512);

async function startFrom(disks: readonly RamDisk[]): Promise<Started> {
  const rig = newRig({ store });
  const copies = await plugAll(
    rig,
    disks.map(({ bytes }) => bytes.slice()),
  );
  await rig.registry.waitForExamine();
  await until(() => rig.arrays.get('a')?.state === 'online', 'online');
  return { rig, disks: copies, volume: openVolume(rig, 'a') };
}

async function stop({ rig, volume }: Started): Promise<void> {
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(rig.registry.ios.outstanding).toBe(0);
}

/** Of the first blocks of the volume: those that are answered EIO. Nothing else than what was written is answered of the others. */
async function unreadable(volume: BlockClient): Promise<number[]> {
  const lost: number[] = [];
  for (const [block, found] of (await bytesOf(volume, 0, count)).entries()) {
    if (found === 'EIO') lost.push(block);
    else expect([block, found]).toEqual([block, block % 128]);
  }
  return lost;
}

/** All blocks that have one checksum with these of the first member's first strip, or with others of its data. */
const whole = (...units: number[]): number[] =>
  units.flatMap((unit) => Array.from({ length: together }, (_, at) => unit * together + at));

function rot(disk: RamDisk, unit: number): void {
  disk.bytes[(dataAt + unit * together + 3) * 512]! ^= 0x80;
}

/** All regions are clean. */
async function restarted(built: Started): Promise<Started> {
  await stop(built);
  const again = await startFrom(built.disks);
  expect(arrayOf(again.rig, 'a').bitmap!.isSettled(0, count)).toBe(true);
  return again;
}

describe('without redundancy', () => {
  // In the first strip of the first member, at whose beginning the volume begins, and in the rest of a concat's.
  const units = [0, 4, 9, 20, 11, 40];

  it('forgets no damage for which the list has no room in a region that is being written, and joins what lies closest', async () => {
    const built = await make('concat', 2);
    const { disks, rig, volume } = built;
    // A write that is under way keeps the region dirty, however long this takes.
    const [first] = disks as [RamDisk];
    rig.arrays.setMemberOptions({ ioTimeoutMs: 0 });
    first.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks === dataAt + 1000 ? null : Status.Ok);
    const slow = volume.write(1000, blocks(together, 1));
    for (const [found, unit] of units.entries()) {
      rot(disks[0]!, unit);
      await expect(volume.read(unit * together, 1)).rejects.toThrow('EIO');
      // The power fails at the moment of the answer.
      const after = await startFrom(disks);
      const joined = found === 5 ? [1, 2, 3] : [];
      // From the fifth block on 9 and 11 share a range; from the sixth on so do 0 and 4.
      const between = found >= 4 ? [10, ...joined] : [];
      expect(await unreadable(after.volume)).toEqual(whole(...units.slice(0, found + 1), ...between).sort((a, b) => a - b));
      expect(arrayOf(after.rig, 'a').badBlocks.size).toBeLessThanOrEqual(mostBadRanges);
      await stop(after);
    }
    await until(() => first.held.length > 0, 'the write is under way');
    first.finish(first.held.pop()!, Status.Ok);
    await slow;
    // Blocks that are written are valid again.
    await volume.write(0, numbered);
    expect(await unreadable(volume)).toEqual([]);
    expect(arrayOf(rig, 'a').badBlocks.isEmpty).toBe(true);
    await stop(built);
  });

  it('joins nothing where checksums go on saying it', async () => {
    const built = await restarted(await make('concat', 2));
    for (const unit of units) rot(built.disks[0]!, unit);
    const wanted = whole(...units).sort((a, b) => a - b);
    expect(await unreadable(built.volume)).toEqual(wanted);
    expect(arrayOf(built.rig, 'a').badBlocks.size).toBeLessThanOrEqual(mostBadRanges);
    const after = await startFrom(built.disks);
    expect(await unreadable(after.volume)).toEqual(wanted);
    await stop(after);
    await expect(built.rig.arrays.disableIntegrity('a')).rejects.toThrow(/no room/);
    expect(await unreadable(built.volume)).toEqual(wanted);
    await stop(built);
    const last = await startFrom(built.disks);
    expect(await unreadable(last.volume)).toEqual(wanted);
    // It is going to be written: what has no room must not depend on checksums from then on.
    await last.volume.write(60 * together, blocks(together, 1));
    const crashed = await startFrom(last.disks);
    const lost = await bytesOf(crashed.volume, 0, 60 * together);
    for (const block of wanted) expect(lost[block]).toBe('EIO');
    for (const [block, found] of lost.entries()) expect(['EIO', block % 128]).toContain(found);
    await stop(crashed);
    await stop(last);
  });

  it('lists what a crash would forget beside what has no room and need not be listed', async () => {
    const built = await restarted(await make('concat', 2, 8));
    const { rig, disks, volume } = built;
    const regionBlocks = arrayOf(rig, 'a').bitmap!.regionBlocks;
    const beyond = Math.ceil(count / regionBlocks) * regionBlocks;
    await volume.write(beyond, blocks(together * 4, 1));
    for (const unit of [0, 4, 9]) rot(disks[0]!, unit);
    rot(disks[0]!, beyond / together + 1);
    expect(await unreadable(volume)).toEqual(whole(0, 4, 9));
    await expect(volume.read(beyond + together, 1)).rejects.toThrow('EIO');
    const after = await startFrom(disks);
    expect(await bytesOf(after.volume, beyond, together * 3)).toEqual(
      Array.from({ length: together * 3 }, (_, at) => (at >= together && at < 2 * together ? 'EIO' : 1)),
    );
    expect(await unreadable(after.volume)).toEqual(whole(0, 4, 9));
    await stop(after);
    await stop(built);
  });

  it('joins nothing at a stop, and forgets nothing', async () => {
    const built = await make('concat', 2);
    const array = arrayOf(built.rig, 'a');
    // This is as many as a process may list.
    for (const unit of [30, 50]) {
      rot(built.disks[0]!, unit);
      await expect(built.volume.read(unit * together, 1)).rejects.toThrow('EIO');
    }
    // Only a write has detected them, and it did not report them.
    for (const unit of units) {
      rot(built.disks[0]!, unit);
      array.noteDamage(0, unit * together, together);
    }
    await stop(built);
    const after = await startFrom(built.disks);
    expect(await unreadable(after.volume)).toEqual(whole(...units, 30, 50).sort((a, b) => a - b));
    await stop(after);
  });

  it('has on record what is found when as much is noted as may be', async () => {
    const built = await make('concat', 2, 8);
    const { badBlocks } = arrayOf(built.rig, 'a');
    for (let at = count; at < 14_000; at += 1000) await built.volume.write(at, blocks(1000, 1));
    // A second read finds that all of these are valid.
    for (let note = 0; badBlocks.canNote; note++) badBlocks.noteDamage(0, count + 3 * note, 1);
    rot(built.disks[0]!, 4);
    await expect(built.volume.read(4 * together, 1)).rejects.toThrow('EIO');
    const after = await startFrom(built.disks);
    expect(await unreadable(after.volume)).toEqual(whole(4));
    expect(arrayOf(after.rig, 'a').badBlocks.size).toBe(1);
    await stop(after);
    await stop(built);
  });
});

describe('with redundancy', () => {
  const units = [0, 3, 8, 20, 10, 40];

  it('has a resync take no damage for good that was read around with a full list, and heals what was joined', async () => {
    const built = await make('raid1', 2);
    const array = arrayOf(built.rig, 'a');
    const [disk] = built.disks as [RamDisk, RamDisk];
    // The first is read even though it does not answer writes.
    built.rig.arrays.setMemberOptions({ ioTimeoutMs: 0 });
    array.slotAt(1).readPreference = 'write-mostly';
    // No block is repaired.
    disk.fault = ({ offsetBlocks, type }) => (type === IoType.Write && offsetBlocks >= dataAt ? null : Status.Ok);
    for (const unit of units) {
      rot(disk, unit);
      expect((await built.volume.read(unit * together + 3, 1))[0]).toBe((unit * together + 3) % 128);
      const after = await startFrom(built.disks);
      await arrayOf(after.rig, 'a').processEnded;
      expect(await unreadable(after.volume)).toEqual([]);
      await stop(after);
    }
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
    await until(() => array.badBlocks.isEmpty && !array.isRepairing, 'all of it is healed');
    expect(array.numInSync).toBe(2);
    await stop(built);
    for (const one of built.disks)
      expect(Buffer.from(one.bytes.subarray(dataAt * 512, (dataAt + count) * 512)).equals(numbered)).toBe(true);
  });

  it('takes no target for a member of which more is lost than is listed, and loses nothing of the source for it', async () => {
    const built = await make('raid1', 2);
    const { disks, rig, volume } = built;
    const array = arrayOf(rig, 'a');
    await rig.arrays.removeBaseBdev('m1');
    for (const unit of units) rot(disks[0]!, unit);
    await rig.arrays.addBaseBdev('a', 'm1');
    await until(() => array.history.some(({ type }) => type === 'rebuild'), 'the rebuild has ended');
    await array.processEnded;
    expect(array.history[0]!.error).toMatch(/no more room for a list of bad blocks/);
    expect(array.numInSync).toBe(1);
    const lost = await unreadable(volume);
    for (const block of whole(...units)) expect(lost).toContain(block);
    const after = await startFrom(disks.slice(0, 1));
    const again = await unreadable(after.volume);
    for (const block of whole(...units)) expect(again).toContain(block);
    await stop(after);
    await stop(built);
  });
});

it('a list that leaves nothing out, as a flush has failed, is no longer than it may be', () => {
  const list = new BadBlocks();
  for (const at of [0, 100, 200, 300]) list.add(0, at, 8);
  list.snapshot(true, mostBadRanges).onRecorded();
  for (const at of [0, 100, 200, 300]) list.remove(0, at, 8);
  for (const at of [10, 150, 400]) list.add(0, at, 8);
  const { list: written } = list.snapshot(false, mostBadRanges);
  expect(written.ranges).toHaveLength(mostBadRanges);
  for (const at of [0, 10, 100, 150, 200, 300, 400])
    expect(written.ranges.some(({ offsetBlocks, numBlocks }) => offsetBlocks <= at && at + 8 <= offsetBlocks + numBlocks)).toBe(
      true,
    );
});

it('ends a repair that fails though the list has no room for what a page of checksums has lost', async () => {
  const built = await restarted(await make('raid1', 2));
  const { disks, rig, volume } = built;
  const array = arrayOf(rig, 'a');
  for (const block of [4000, 4016]) array.markBad(0, block, together);
  const { dataOffset, dataSize } = array.slots[0]!;
  const pageAt = dataOffset + dataSize;
  let reads = 0;
  disks[0]!.fault = ({ offsetBlocks, type }) => {
    if (offsetBlocks !== pageAt || type !== IoType.Read) return Status.Ok;
    reads++;
    return Status.IoError;
  };
  disks[1]!.fault = ({ offsetBlocks, type }) =>
    type === IoType.Read && offsetBlocks >= dataOffset && offsetBlocks < pageAt ? Status.IoError : Status.Ok;
  await expect(volume.read(0, together)).rejects.toThrow('EIO');
  await until(() => reads > 0 && !array.isRepairing, 'the repair has ended');
  for (const disk of disks) disk.fault = () => Status.Ok;
  expect(await unreadable(volume)).toEqual([]);
  await stop(built);
});
