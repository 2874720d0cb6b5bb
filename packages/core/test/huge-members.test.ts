import { IoType } from '@raidkit/bdev';
import { RegionState } from '@raidkit/core';
import type { SuperblockStore } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { CutMode } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import { SparseMachine, junk } from '../../../test/support/sparse-machine.js';

const MiB = 1024 * 1024;
const TiB = MiB * MiB;

const levels: [string, number][] = [
  ['raid1', 2],
  ['raid5f', 3],
];

/** Bytes of zeros that each disk is given from now on. */
function countZeros(machine: SparseMachine): number[] {
  const zeros = machine.disks.map(() => 0);
  machine.disks.forEach((disk, index) => {
    disk.onSubmit = (io) => {
      if (io.type === IoType.WriteZeroes) zeros[index] = zeros[index]! + io.numBlocks * 512;
      return undefined;
    };
  });
  return zeros;
}

async function machineWith(level: string, members: number, bytes: number): Promise<SparseMachine> {
  const machine = new SparseMachine(new Array<number>(members).fill(bytes));
  await machine.boot();
  await machine.create(
    level,
    machine.disks.map(({ name }) => name),
  );
  return machine;
}

describe.each(levels)('%s', (level, members) => {
  it('gives zeros to 4 MiB of each member before the first write to a region of 32 TiB members is answered', async () => {
    const machine = await machineWith(level, members, 32 * TiB);
    const { bitmap } = machine.array;
    expect(bitmap!.regionBlocks * 512).toBe(4 * MiB);
    const volume = machine.openVolume();
    const zeros = countZeros(machine);
    const middle = Math.floor(volume.numBlocks / 2);
    await machine.until(volume.write(middle, blocks(8, 7)));
    for (const bytes of zeros) expect(bytes).toBe(4 * MiB);
    // Of many at once the first is answered while at most the second round gives zeros.
    const places = Array.from({ length: 40 }, (_, index) => Math.floor((volume.numBlocks / 41) * index));
    const before: number[] = [];
    const writes = places.map((place) => volume.write(place, blocks(8, 9)).then(() => before.push(zeros[0]! / MiB)));
    await machine.until(Promise.all(writes));
    expect(Math.min(...before)).toBeLessThanOrEqual(4 + 2 * 16);
    for (const bytes of zeros) expect(bytes).toBe(41 * 4 * MiB);
    const expected = new Uint8Array(16 * 512);
    expected.set(blocks(8, 7));
    expect(await machine.until(volume.read(middle, 16))).toEqual(expected);
  });

  it('reads zeros around a first write, at whatever moment the power fails', async () => {
    const first = await machineWith(level, members, 2 * TiB);
    const volumeBlocks = first.openVolume().numBlocks;
    // The region is on a page of the bitmap behind the first MiB.
    const place = Math.floor(volumeBlocks * 0.9);
    first.cut(CutMode.KeepAll);
    for (const mode of [CutMode.LoseAll, CutMode.Random]) {
      for (let nth = 1, isOver = false; !isOver; nth += mode === CutMode.LoseAll ? 1 : 3) {
        const machine = first.copy();
        await machine.boot();
        const volume = machine.openVolume();
        let left = nth;
        let reached: () => void = () => undefined;
        const moment = new Promise<void>((resolve) => (reached = resolve));
        for (const disk of machine.disks) {
          disk.onSubmit = () => {
            if (--left === 0) reached();
            return undefined;
          };
        }
        let isWritten = false;
        const write = volume.write(place, blocks(8, 7)).then(() => volume.flush());
        write.then(() => (isWritten = true)).catch(() => undefined);
        await machine.until(Promise.race([moment, write]));
        isOver = isWritten;
        machine.cut(mode);
        await machine.boot();
        const reader = machine.openVolume();
        const around = await machine.until(reader.read(place - 64, 136));
        for (let block = 0; block < 136; block++) {
          const held = around.subarray(block * 512, (block + 1) * 512);
          const isTarget = block >= 64 && block < 72;
          const isZero = held.every((byte) => byte === 0);
          const isData = held.every((byte) => byte === 7);
          expect(isTarget ? isData || (isZero && !isWritten) : isZero, `block ${block} after ${nth}`).toBe(true);
        }
        machine.cut(CutMode.KeepAll);
      }
    }
  }, 240_000);

  it('keeps a map of many pages in front of the data, and finds it again', async () => {
    const machine = await machineWith(level, members, 2 * TiB);
    const { slots } = machine.array;
    expect(slots.map(({ dataOffset }) => dataOffset * 512)).toEqual(slots.map(() => 2 * MiB));
    const volume = machine.openVolume();
    await machine.until(volume.write(0, blocks(8, 7)));
    await machine.until(volume.write(volume.numBlocks - 8, blocks(8, 7)));
    await machine.sleep(12_000);
    machine.cut(CutMode.LoseAll);
    await machine.boot();
    const { bitmap } = machine.array;
    expect(bitmap!.count(RegionState.Clean)).toBe(2);
    expect(bitmap!.count(RegionState.Unwritten)).toBe(bitmap!.states.length - 2);
    expect(bitmap!.states.at(-1)).toBe(RegionState.Clean);
    const again = machine.openVolume();
    expect(await machine.until(again.read(again.numBlocks - 8, 8))).toEqual(blocks(8, 7));
  });
});

/** The store reads and writes superblocks as SPDK does, without anything behind them. */
const withoutExtension: SuperblockStore = {
  reservedBytes: spdkSuperblockStore.reservedBytes,
  read: (descriptor) => spdkSuperblockStore.read(descriptor),
  check: (record) => spdkSuperblockStore.check(record),
  write: (descriptor, record) => spdkSuperblockStore.write(descriptor, record),
  clear: (descriptor) => spdkSuperblockStore.clear(descriptor),
};

it('keeps to the first MiB of an array that another program made, also on a new member that has more room', async () => {
  const machine = new SparseMachine([2 * TiB, 2 * TiB, 3 * TiB]);
  await machine.boot({ store: withoutExtension, disks: [0, 1] });
  await machine.create('raid1', ['m0', 'm1']);
  const volume = machine.openVolume();
  await machine.until(volume.write(0, blocks(4096, 7)));
  volume.descriptor.close();
  await machine.until(machine.arrays.stop());
  machine.cut(CutMode.KeepAll);
  await machine.boot();
  const { array } = machine;
  // There is no room for more regions: they are as large as they must be, and stay written.
  expect(array.bitmap!.regionBlocks * 512).toBe(32 * MiB);
  expect(await machine.until(machine.openVolume().read(0, 4096))).toEqual(blocks(4096, 7));
  await machine.until(machine.arrays.removeBaseBdev('m1'));
  await machine.until(machine.arrays.addBaseBdev('a', 'm2'));
  expect(array.slots.map(({ dataOffset }) => dataOffset * 512)).toEqual([MiB, MiB]);
});

it('a region that is too large to be given zeros at a first write does not become unwritten again', async () => {
  const rig = newRig({ regions: { leastBytes: 64 * 1024, zeroBytes: 64 * 1024, mostGroups: 2, mostRegions: 4 } });
  for (const index of [0, 1])
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) });
  await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
  const { bitmap } = arrayOf(rig, 'a');
  expect(bitmap!.regionBlocks * 512).toBe(512 * 1024);
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(1024, 7));
  await volume.unmap(0, 1024);
  volume.descriptor.close();
  await rig.arrays.stop();
  expect(bitmap!.states[0]).toBe(RegionState.Clean);
});

describe('regions in groups', () => {
  const regionBlocks = 128;

  async function build(): Promise<{ rig: ReturnType<typeof newRig>; logs: string[][] }> {
    const rig = newRig({ regions: { leastBytes: regionBlocks * 512, zeroBytes: regionBlocks * 512, mostGroups: 4 } });
    const logs: string[][] = [];
    for (const index of [0, 1]) {
      const bytes = new Uint8Array(2 * MiB).fill(junk);
      logs.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk.log);
    }
    await rig.arrays.create({ name: 'a', level: 'raid1', baseBdevs: ['m0', 'm1'], superblock: true });
    expect(arrayOf(rig, 'a').bitmap!.groupRegions).toBe(4);
    return { rig, logs };
  }

  it('the bits of all written regions of a group are set at once, and the unwritten ones stay what they are', async () => {
    const { rig, logs } = await build();
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(3 * regionBlocks, 7));
    await volume.write(4 * regionBlocks, blocks(1, 7));
    const { bitmap } = arrayOf(rig, 'a');
    await until(() => bitmap!.count(RegionState.Dirty) === 0, 'they are clean');
    await volume.write(regionBlocks, blocks(1, 8));
    const { Clean, Dirty, Unwritten } = RegionState;
    expect([...bitmap!.states.subarray(0, 6)]).toEqual([Dirty, Dirty, Dirty, Unwritten, Clean, Unwritten]);
    for (const log of logs) log.length = 0;
    await volume.write(0, blocks(1, 9));
    await volume.write(2 * regionBlocks, blocks(1, 9));
    // Only data is written, and no bits are set.
    for (const log of logs) expect(log).toEqual(['write 2048+1', `write ${2048 + 2 * regionBlocks}+1`]);
  });

  it('a region of a group becomes unwritten when all of it is unmapped', async () => {
    const { rig } = await build();
    const volume = openVolume(rig, 'a');
    await volume.write(0, blocks(regionBlocks, 7));
    await volume.write(2 * regionBlocks, blocks(2 * regionBlocks, 7));
    await volume.unmap(0, 3 * regionBlocks);
    const { bitmap } = arrayOf(rig, 'a');
    await until(() => bitmap!.count(RegionState.Unwritten) === bitmap!.states.length - 1, 'it is on record');
    const { Clean, Unwritten } = RegionState;
    expect([...bitmap!.states.subarray(0, 5)]).toEqual([Unwritten, Unwritten, Unwritten, Clean, Unwritten]);
    expect((await volume.read(0, 3 * regionBlocks)).every((byte) => byte === 0)).toBe(true);
    expect(await volume.read(3 * regionBlocks, regionBlocks)).toEqual(blocks(regionBlocks, 7));
  });
});
