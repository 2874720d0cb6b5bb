import { IoType, Status } from '@raidkit/bdev';
import { expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import type { Built } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const firstByte = (data: Uint8Array): number => data[0]!;

for (const level of ['raid1', 'raid5f']) {
  it(`a ${level} that grows while a rebuild is at its last flush gives the new member everything`, async () => {
    const members = level === 'raid1' ? 2 : 3;
    const { rig, disks, volume } = await build(level, members, { mebibytes: 2 });
    await volume.write(0, blocks(64, 1));
    await rig.arrays.removeBaseBdev('m1');
    const { bdev, disk: target } = await plugIn(rig.registry, {
      name: 'm9',
      uuid: memberUuid(9),
      bytes: new Uint8Array(3 * MiB),
    });
    let isHeld = false;
    target.fault = (io) => {
      if (io.type !== IoType.Flush || isHeld || !target.log.some((entry) => entry.startsWith('write 2048+'))) return Status.Ok;
      isHeld = true;
      return null;
    };
    await rig.arrays.addBaseBdev('a', 'm9');
    await until(() => isHeld, 'all is copied, and the target is being flushed');
    const before = volume.numBlocks;
    disks.forEach((disk, index) => index !== 1 && rig.registry.get(`m${index}`)!.resize(disk.grow(2 * MiB)));
    bdev.resize(target.grow(2 * MiB));
    await until(() => volume.numBlocks > before, 'it has grown');
    await volume.write(volume.numBlocks - 64, blocks(64, 5));
    await volume.flush();
    for (const io of target.held.splice(0)) target.finish(io, Status.Ok);
    const array = arrayOf(rig, 'a');
    await until(() => array.numInSync === members && array.process === null, 'rebuilt');
    await rig.arrays.removeBaseBdev('m0');
    for (let block = 64; block > 0; block -= 8) expect(firstByte(await volume.read(volume.numBlocks - block, 1))).toBe(5);
  });
}

it('a growth leaves a device alone that is still being looked at', async () => {
  const { rig, disks, volume } = await build('raid1', 2, { mebibytes: 2.5 });
  await volume.write(0, blocks(8, 1));
  await rig.arrays.removeBaseBdev('m1');
  // It is not known yet to which array the device belongs.
  const bytes = new Uint8Array(7 * MiB).fill(0x77);
  const { disk: foreign } = await plugIn(rig.registry, { name: 'm9', uuid: memberUuid(9), bytes: bytes.slice() });
  foreign.fault = (io) => (io.type === IoType.Read ? null : Status.Ok);
  const added = rig.arrays.addBaseBdev('a', 'm9');
  await until(() => foreign.held.length > 0, 'it is being looked at');
  rig.registry.get('m0')!.resize(disks[0]!.grow(2 * MiB));
  await arrayOf(rig, 'a').resizing;
  expect(foreign.log.filter((entry) => !entry.startsWith('read'))).toEqual([]);
  expect(Buffer.compare(foreign.bytes, bytes)).toBe(0);
  foreign.fault = () => Status.Ok;
  for (const io of foreign.held.splice(0)) foreign.finish(io, Status.Ok);
  await added;
  // The device is a member now, and both members have room.
  await until(() => volume.numBlocks === 4.5 * 2048, 'it has grown');
});

/** Stops the array, gives its members room, and starts it on another rig. */
async function startWithLargerMembers({
  rig,
  disks,
  volume,
}: Built): Promise<{ sizes: number[]; again: Awaited<ReturnType<typeof newRig>> }> {
  const before = volume.numBlocks;
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  for (const [index, disk] of disks.entries()) {
    disk.grow(2 * MiB);
    await plugIn(again.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: disk.bytes });
  }
  await again.registry.waitForExamine();
  await until(() => (again.registry.get('a')?.numBlocks ?? 0) > before, 'it has grown');
  return { sizes: [before, again.registry.get('a')!.numBlocks], again };
}

for (const level of ['raid0', 'raid1', 'raid5f', 'concat']) {
  it(`a ${level} whose members have grown while it was not up grows at its start, once`, async () => {
    const built = await build(level, 3, { mebibytes: 2 });
    await built.volume.write(0, blocks(64, 1));
    const { sizes, again } = await startWithLargerMembers(built);
    // Of a concat only the last member can grow.
    expect(sizes[1]).toBe(level === 'concat' ? sizes[0]! + 2 * 2048 : sizes[0]! * 2);
    const client = openVolume(again, 'a');
    expect(firstByte(await client.read(0, 1))).toBe(1);
    await client.write(client.numBlocks - 8, blocks(8, 7));
    expect(firstByte(await client.read(client.numBlocks - 8, 1))).toBe(7);
    expect(again.events.filter(({ type }) => type === 'arrayResized').length).toBe(1);
    client.descriptor.close();
    await again.arrays.stop();
  });
}

it('an array grows when the last of its members has made way for a larger one', async () => {
  const { rig, volume } = await build('raid1', 2, { mebibytes: 2 });
  await volume.write(0, blocks(8, 1));
  const array = arrayOf(rig, 'a');
  const before = volume.numBlocks;
  for (const [index, uuid] of [
    [0, 10],
    [1, 11],
  ] as const) {
    await plugIn(rig.registry, { name: `n${index}`, uuid: memberUuid(uuid), bytes: new Uint8Array(5 * MiB).fill(0xee) });
    await rig.arrays.removeBaseBdev(`m${index}`);
    expect(volume.numBlocks).toBe(before);
    await rig.arrays.addBaseBdev('a', `n${index}`);
    await until(() => array.numInSync === 2, 'rebuilt');
  }
  await until(() => volume.numBlocks === 2 * before, 'it has grown');
  expect(firstByte(await volume.read(0, 1))).toBe(1);
  expect(firstByte(await volume.read(volume.numBlocks - 8, 8))).toBe(0);
});

it.each([
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
  ['raid5f', 3],
] as const)('%s keeps its size when its growth cannot be recorded, and grows at the next occasion', async (level, members) => {
  const { rig, disks, volume } = await build(level, members);
  await volume.write(0, blocks(64, 1));
  await volume.flush();
  const array = arrayOf(rig, 'a');
  const { numBlocks } = array;
  const sizes = array.slots.map(({ dataSize }) => dataSize);
  // There is no room for superblocks and headers.
  for (const disk of disks)
    disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks < 256 ? Status.NoSpace : Status.Ok);
  disks.forEach((disk, index) => rig.registry.get(`m${index}`)!.resize(disk.grow(2 * MiB)));
  await array.resizing;
  expect(array.numBlocks).toBe(numBlocks);
  expect(array.slots.map(({ dataSize }) => dataSize)).toEqual(sizes);
  expect(volume.numBlocks).toBe(numBlocks);
  for (const disk of disks) disk.fault = () => Status.Ok;
  rig.registry.get('m0')!.resize(disks[0]!.grow(MiB));
  await until(() => volume.numBlocks > numBlocks, 'it has grown');
  expect(array.numBlocks).toBe(volume.numBlocks);
  await volume.write(volume.numBlocks - 64, blocks(64, 5));
  await volume.flush();
});

it.each(['raid1', 'raid5f', 'raid10'])(
  'a %s that grows as soon as a member has been replaced keeps the new one',
  async (level) => {
    const { rig, disks, volume } = await build(level, 4);
    await volume.write(0, blocks(64, 1));
    await plugIn(rig.registry, { name: 'new', uuid: memberUuid(9), bytes: new Uint8Array(5 * MiB) });
    // The clearing of the replaced member is slow.
    const old = disks[1]!;
    let isHeld = true;
    const isOut = (): boolean => arrayOf(rig, 'a').slots[1]?.name === 'new';
    old.fault = ({ type }) => (isHeld && isOut() && type !== IoType.Read ? null : Status.Ok);
    await rig.arrays.replaceBaseBdev('a', 'm1', 'new');
    await until(() => old.held.length > 0, 'it has taken the place');
    const before = volume.numBlocks;
    disks.forEach((one, index) => index !== 1 && rig.registry.get(`m${index}`)!.resize(one.grow(2 * MiB)));
    await until(() => volume.numBlocks > before, 'it has grown');
    isHeld = false;
    for (const io of old.held.splice(0)) old.finish(io, Status.Ok);
    await until(() => arrayOf(rig, 'a').process === null, 'the process has ended');
    await volume.write(before - 8, blocks(16, 2));
    expect(arrayOf(rig, 'a').numInSync).toBe(4);
    expect(new Set(await volume.read(before - 8, 16))).toEqual(new Set([2]));
  },
);
