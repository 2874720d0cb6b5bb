import { IoType, Status } from '@raidkit/bdev';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, takeMemory, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import {
  MiB,
  dataBytes,
  expectContents,
  expectOnMembers,
  fullPicture,
  made,
  scribble,
  settled,
  strip,
} from './support/array.js';

async function add(rig: Rig, ...indexes: number[]): Promise<void> {
  for (const index of indexes) {
    await rig.arrays.addBaseBdev('a', `m${index}`);
    await until(
      () => arrayOf(rig, 'a').slots.some(({ name, isInSync }) => name === `m${index}` && isInSync),
      `m${index} is in`,
    );
    await settled(rig);
  }
}

it.each([4, 5, 7])('both parities of %i members are those of the data, whatever is written', async (members) => {
  const { rig, disks } = await made(members);
  const data = new Uint8Array((members - 2) * dataBytes);
  const volume = openVolume(rig, 'a');
  expect(volume.numBlocks * 512).toBe(data.length);
  for (let seed = 1; seed <= 4; seed++) await scribble(rig, data, seed);
  await volume.writeZeroes(3, 5 * strip * (members - 2));
  data.fill(0, 3 * 512, (3 + 5 * strip * (members - 2)) * 512);
  await expectContents(rig, data);
  expectOnMembers(disks, await fullPicture(rig, data));
});

describe('whichever two members are gone, everything is read and written, and both are filled anew', () => {
  it.each([4, 5])('of %i', async (members) => {
    const { rig, disks } = await made(members);
    const data = new Uint8Array((members - 2) * dataBytes);
    await fullPicture(rig, data);
    for (let first = 0; first < members; first++)
      for (let second = first + 1; second < members; second++) {
        await scribble(rig, data, 100 + first * 10 + second);
        await rig.arrays.removeBaseBdev(`m${first}`);
        await scribble(rig, data, 200 + first * 10 + second);
        await rig.arrays.removeBaseBdev(`m${second}`);
        await expectContents(rig, data);
        await scribble(rig, data, 300 + first * 10 + second);
        await expectContents(rig, data);
        for (const gone of [first, second]) disks[gone]!.bytes.fill(0xdb, MiB);
        await add(rig, second, first);
        await expectContents(rig, data);
        expectOnMembers(disks, data);
      }
    await rig.arrays.stop();
  });
});

it('blocks that one member cannot read are known without another one, and given anew', async () => {
  const { rig, disks } = await made(5);
  const data = new Uint8Array(3 * dataBytes);
  await scribble(rig, data, 7);
  await fullPicture(rig, data);
  await rig.arrays.removeBaseBdev('m0');
  const bad = new Set([MiB / 512 + 3, MiB / 512 + 9, MiB / 512 + 17, MiB / 512 + 42]);
  disks[3]!.fault = (io) => {
    const covered = [...bad].filter((block) => block >= io.offsetBlocks && block < io.offsetBlocks + io.numBlocks);
    if (io.type === IoType.Write) for (const block of covered) bad.delete(block);
    return covered.length > 0 && io.type === IoType.Read ? Status.IoError : Status.Ok;
  };
  await expectContents(rig, data);
  await scribble(rig, data, 8);
  rig.arrays.startSync('a', 'check');
  await settled(rig);
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ error: null, mismatchBlocks: 0, lostBlocks: 0 });
  expect([...bad]).toEqual([]);
  await add(rig, 0);
  await expectContents(rig, data);
  expectOnMembers(disks, data);
});

it('a read in which two members cannot read different blocks is answered without a third one', async () => {
  const { rig, disks } = await made(5);
  const data = new Uint8Array(3 * dataBytes);
  await scribble(rig, data, 11);
  await fullPicture(rig, data);
  await rig.arrays.removeBaseBdev('m0');
  // This is in stripe 1, whose data is on slots 0 to 2, P on slot 3, and Q on slot 4.
  for (const [slot, column] of [
    [1, 1],
    [2, 5],
  ] as const) {
    const block = MiB / 512 + strip + column;
    disks[slot]!.fault = ({ numBlocks, offsetBlocks, type }) =>
      type === IoType.Read && block >= offsetBlocks && block < offsetBlocks + numBlocks ? Status.IoError : Status.Ok;
  }
  await expectContents(rig, data);
});

it('a repair by a person’s word changes nothing of which P and Q say different things', async () => {
  const { rig, disks } = await made(5);
  const data = new Uint8Array(3 * dataBytes);
  await fullPicture(rig, data.fill(0x11));
  const at = (stripe: number, column: number): number => MiB + (stripe * strip + column) * 512;
  // Slot 1 is wrong in stripe 0. In stripe 1 it has data, and P, on slot 3, is what is wrong; in stripe 3 it has P, and Q, on slot 2, is.
  disks[1]!.bytes.fill(0x77, at(0, 2), at(0, 3));
  disks[3]!.bytes.fill(0x77, at(1, 4), at(1, 5));
  disks[2]!.bytes.fill(0x55, at(3, 6), at(3, 7));
  rig.arrays.startSync('a', 'repair', { wrong: 1 });
  await settled(rig);
  await expectContents(rig, data);
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ repairedBlocks: 1, undecidedBlocks: 2 });
});

it('a write that a third member has no room for loses nothing of two absent ones beside it', async () => {
  const { rig, disks } = await made(5);
  const data = new Uint8Array(3 * dataBytes);
  await scribble(rig, data, 12);
  await fullPicture(rig, data);
  await rig.arrays.removeBaseBdev('m0');
  await rig.arrays.removeBaseBdev('m1');
  // Stripe 1 has its data on slots 0 to 2. Of a write to slot 2 the first block is taken.
  disks[2]!.fault = (io) => {
    if (io.type !== IoType.Write || io.offsetBlocks < MiB / 512) return Status.Ok;
    const at = io.offsetBlocks * 512;
    disks[2]!.bytes.set(rig.registry.runtime.memory.u8.subarray(io.addr, io.addr + 512), at);
    return Status.NoSpace;
  };
  const volume = openVolume(rig, 'a');
  const offset = 5 * strip + 2;
  await expect(volume.write(offset, blocks(3, 0x33))).rejects.toThrow(/ENOSPC/);
  volume.descriptor.close();
  data.fill(0x33, offset * 512, (offset + 1) * 512);
  await expectContents(rig, data);
  disks[2]!.fault = () => Status.Ok;
  await add(rig, 0, 1);
  await expectContents(rig, data);
  expectOnMembers(disks, data);
});

it('a block of an absent member that P and Q say otherwise after a crash is an error, and all others are read', async () => {
  const { rig, disks } = await made(4);
  const data = new Uint8Array(2 * dataBytes);
  await scribble(rig, data, 9);
  await fullPicture(rig, data);
  // The power fails in a write to slot 1, block 2 of stripe 0 (P on slot 3, Q on slot 0): Q has not been written.
  const images = disks.map(({ bytes }) => bytes.slice());
  images[1]!.fill(0x77, MiB + 2 * 512, MiB + 3 * 512);
  const again = newRig();
  for (const [index, bytes] of images.entries())
    if (index !== 2) await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await expect(again.arrays.startDegraded('a')).rejects.toThrow();
  await again.arrays.startDegraded('a', { force: true });
  const volume = openVolume(again, 'a');
  await expect(volume.read(strip + 2, 1)).rejects.toThrow();
  for (let block = 0; block < 2 * strip; block++) {
    if (block === 2 || block === strip + 2) continue;
    expect(Buffer.compare(await volume.read(block, 1), data.subarray(block * 512, (block + 1) * 512)), `block ${block}`).toBe(
      0,
    );
  }
  // A resync does not invent blocks that neither of them proves.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await expect(volume.read(strip + 2, 1)).rejects.toThrow();
  // A write beside it does not do so either, because it changes both by the difference.
  await volume.write(2, blocks(1, 6));
  expect((await volume.read(2, 1))[0]).toBe(6);
  await expect(volume.read(strip + 2, 1)).rejects.toThrow();
  await volume.write(strip + 2, blocks(1, 5));
  expect((await volume.read(strip + 2, 1))[0]).toBe(5);
});

it.each([
  { stale: 'P', slot: 3 },
  { stale: 'Q', slot: 0 },
])('a block that was read after a crash in which $stale was not written is known without its member', async ({ slot }) => {
  const { rig, disks } = await made(4);
  const data = new Uint8Array(2 * dataBytes);
  await scribble(rig, data, 11);
  await fullPicture(rig, data);
  // A write to slot 1, block 2 of stripe 0 (P on slot 3, Q on slot 0): everything but that parity.
  const volume = openVolume(rig, 'a');
  const before = disks[slot]!.bytes.slice();
  await volume.write(2, blocks(1, 0x77));
  const images = disks.map(({ bytes }, index) => (index === slot ? before : bytes.slice()));
  const again = newRig();
  // Without memory the resync waits.
  again.arrays.on(({ type }) => {
    if (type === 'arrayOnline') takeMemory(again);
  });
  for (const [index, bytes] of images.entries())
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await again.registry.waitForExamine();
  const found = openVolume(again, 'a');
  expect((await found.read(2, 1))[0]).toBe(0x77);
  await again.arrays.removeBaseBdev('m1', { force: true });
  expect((await found.read(2, 1))[0]).toBe(0x77);
});

/**
 * A power cut in a write of 0x77 to slot 1, block 2 of stripe 0 (P on slot 3, Q on slot 0): neither parity has been written. The
 * slot's chunk there cannot be read until `reads.fail` is false. Without memory the resync waits.
 */
async function cutBeforeParities(
  seed: number,
  slot: number,
): Promise<{ rig: Rig; reads: { fail: boolean }; blockOf: (block: number) => Uint8Array }> {
  const { rig, disks } = await made(4);
  const data = new Uint8Array(2 * dataBytes);
  await scribble(rig, data, seed);
  await fullPicture(rig, data);
  const images = disks.map(({ bytes }) => bytes.slice());
  images[1]!.fill(0x77, MiB + 2 * 512, MiB + 3 * 512);
  const again = newRig();
  again.arrays.on(({ type }) => {
    if (type === 'arrayOnline') takeMemory(again);
  });
  const reads = { fail: true };
  for (const [index, bytes] of images.entries()) {
    const { disk } = await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
    disk.fault = ({ type, offsetBlocks }) => {
      const isIn = index === slot && offsetBlocks >= MiB / 512 && offsetBlocks < MiB / 512 + strip;
      return reads.fail && isIn && type === IoType.Read ? Status.IoError : Status.Ok;
    };
  }
  await again.registry.waitForExamine();
  return { rig: again, reads, blockOf: (block) => data.subarray(block * 512, (block + 1) * 512) };
}

it('a block that was read after a crash beside one that cannot be read is not what it was before, without its member', async () => {
  const { rig, reads, blockOf } = await cutBeforeParities(12, 2);
  const volume = openVolume(rig, 'a');
  const expected = Buffer.concat([0, 1, 2, 3, 4, 5].map((block) => (block === 2 ? blocks(1, 0x77) : blockOf(block))));
  expect(Buffer.compare(await volume.read(0, 6), expected)).toBe(0);
  // The chunk that cannot be read is not invented, and both parities still cover it.
  await expect(volume.read(strip + 2, 1)).rejects.toThrow();
  expect(Buffer.compare(await volume.read(strip + 3, 1), blockOf(strip + 3))).toBe(0);
  reads.fail = false;
  await rig.arrays.removeBaseBdev('m1', { force: true });
  await expect(volume.read(2, 1)).rejects.toThrow();
  expect(Buffer.compare(await volume.read(3, 1), blockOf(3))).toBe(0);
  expect(Buffer.compare(await volume.read(strip + 2, 1), blockOf(strip + 2))).toBe(0);
});

it('a block that both parities gave after a crash, as it could not be read, is that when it can be', async () => {
  const { rig, reads, blockOf } = await cutBeforeParities(13, 1);
  const volume = openVolume(rig, 'a');
  expect(Buffer.compare(await volume.read(2, 1), blockOf(2))).toBe(0);
  reads.fail = false;
  expect(Buffer.compare(await volume.read(2, 1), blockOf(2))).toBe(0);
});
