import { IoType, Status } from '@raidkit/bdev';
import { encodeSuperblock, parseSuperblock } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { VolatileDisk, plugInDisk } from '../../../test/support/volatile-disk.js';

/** Index of the device that replaces m1. */
const newIndex = 9;
/** First block of a member's data area. */
const dataAt = 2048;

/** Images of devices by index. */
type Images = Map<number, Uint8Array>;

function superblockOf(bytes: Uint8Array): Extract<ReturnType<typeof parseSuperblock>, { ok: true }>['superblock'] {
  const found = parseSuperblock(bytes.subarray(0, 4096));
  if (!found.ok) throw new Error('there is no superblock');
  return found.superblock;
}

/** The devices as a crash leaves them when only the device that replaces m1 has the superblock that counts it in. */
async function cutShort(level: string, members: number, absent: number | null): Promise<Images> {
  const rig = newRig();
  const disks = new Map(
    [...Array(members).keys(), newIndex].map((i) => [i, new VolatileDisk(rig.registry, new Uint8Array(4 << 20))]),
  );
  for (const [index, disk] of disks) await plugInDisk(rig.registry, index, disk);
  const baseBdevs = Array.from({ length: members }, (_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, ...(level === 'raid5f' && { stripSizeKb: 16 }) });
  const volume = openVolume(rig, 'a');
  await volume.write(0, blocks(128, 1));
  await volume.flush();
  if (absent !== null) await rig.arrays.removeBaseBdev(`m${absent}`);
  const isCountedIn = (): boolean => disks.get(newIndex)!.bytes[0] !== 0;
  const olds = [...disks].filter(([index]) => index !== newIndex).map(([, disk]) => disk);
  for (const disk of olds)
    disk.fault = ({ type, offsetBlocks }) => (type === IoType.Write && offsetBlocks === 0 && isCountedIn() ? null : Status.Ok);
  const replaced = rig.arrays.replaceBaseBdev('a', 'm1', `m${newIndex}`);
  replaced.catch(() => undefined);
  await until(() => olds.some(({ held }) => held.length > 0), 'the new device alone has the superblock');
  const images = new Map([...disks].map(([index, { bytes }]) => [index, bytes.slice()]));
  for (const disk of olds) {
    disk.fault = () => Status.Ok;
    for (const io of disk.held.splice(0)) disk.finish(io, Status.Ok);
  }
  await replaced;
  volume.descriptor.close();
  await rig.arrays.stop();
  return images;
}

/** SPDK has run the array from the former members, and has written one block, with parity, if any. */
function ranBySpdk(images: Images, written: Readonly<Record<number, number>>, absent: number | null): void {
  for (const [index, bytes] of images) {
    if (index === newIndex || index === absent) continue;
    const superblock = superblockOf(bytes);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    const fill = written[index];
    if (fill !== undefined) bytes.fill(fill, dataAt * 512, (dataAt + 1) * 512);
  }
}

async function read(rig: Rig, block: number): Promise<number> {
  const volume = openVolume(rig, 'a');
  const [byte] = await volume.read(block, 1);
  volume.descriptor.close();
  return byte!;
}

async function plugAll(images: Images, order: readonly number[]): Promise<{ rig: Rig; disks: Map<number, RamDisk> }> {
  const rig = newRig({ assembly: { absentWaitMs: 60_000 } });
  const disks = new Map<number, RamDisk>();
  for (const index of order) {
    const bytes = images.get(index)!.slice();
    disks.set(index, (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  await rig.registry.waitForExamine();
  return { rig, disks };
}

describe.each([
  { name: 'raid1', level: 'raid1', members: 2, at: 0, written: { 0: 2, 1: 2 }, absent: null },
  // The member that is replaced is the only one, so that no member of the array has been run by the other program.
  { name: 'raid1 without m0', level: 'raid1', members: 2, at: 0, written: { 1: 2 }, absent: 0 },
  { name: 'raid5f', level: 'raid5f', members: 3, at: 32, written: { 1: 2, 2: 1 ^ 2 }, absent: null },
])(
  '$name: a replacement is cut short, and another program runs the array without the new device',
  ({ level, members, at, written, absent }) => {
    const former = [...Array(members).keys()].filter((index) => index !== absent);
    // The array waits for the member that is out until that is seen.
    const last = absent === null ? [] : [absent];
    const orders = [
      [newIndex, ...former, ...last],
      [former[0]!, newIndex, ...former.slice(1), ...last],
    ];

    it('it is not started while that device is there, and goes on with what the other program wrote without it', async () => {
      const images = await cutShort(level, members, absent);
      ranBySpdk(images, written, absent);
      for (const order of orders) {
        const { rig } = await plugAll(images, order);
        await until(() => arrayOf(rig, 'a').startError !== null, 'its start is refused');
        expect(arrayOf(rig, 'a').state).toBe('configuring');
        expect(arrayOf(rig, 'a').startError).toMatch(
          /another program ran it from m[01].* while m9 \(slot 1\) had a newer superblock/,
        );
        await expect(rig.arrays.startDegraded('a')).rejects.toMatchObject({ code: 'ERR_RAID_METADATA', errno: 16 });
        // The operator takes that device away.
        await rig.registry.unregister(rig.registry.get(`m${newIndex}`)!);
        await until(() => rig.arrays.get('a')?.state === 'online', 'it is started from the others');
        expect(arrayOf(rig, 'a').slots[1]!.name).toBe('m1');
        expect(await read(rig, at)).toBe(2);
        await rig.arrays.stop();
      }
    });

    it('it is started by force, and then redundancy is made to agree everywhere', async () => {
      const images = await cutShort(level, members, absent);
      ranBySpdk(images, written, absent);
      const { rig, disks } = await plugAll(images, orders[0]!);
      await rig.arrays.startDegraded('a', { force: true });
      await arrayOf(rig, 'a').processEnded;
      const found = await read(rig, at);
      expect([1, 2]).toContain(found);
      const current = arrayOf(rig, 'a').slots.flatMap(({ name }) => (name === null ? [] : [Number(name.slice(1))]));
      await rig.arrays.stop();
      for (const lost of current) {
        const left = current.filter((index) => index !== lost);
        const { rig: without } = await plugAll(new Map(left.map((index) => [index, disks.get(index)!.bytes])), left);
        await without.arrays.startDegraded('a');
        expect(await read(without, at), `without m${lost}`).toBe(found);
        await without.arrays.stop();
      }
    });

    // A mirror of one that has no member any more gives way to the former one by itself.
    it.each(absent === null ? [false, true] : [])(
      'that device goes before the start, and the others are assembled (force: %s)',
      async (force) => {
        const images = await cutShort(level, members, absent);
        ranBySpdk(images, written, absent);
        const { rig } = await plugAll(images, [newIndex]);
        await rig.registry.unregister(rig.registry.get(`m${newIndex}`)!);
        for (const index of former)
          await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes: images.get(index)!.slice() });
        await rig.registry.waitForExamine();
        await expect(rig.arrays.startDegraded('a', { force })).rejects.toMatchObject({
          code: 'ERR_RAID_METADATA',
          errno: 16,
          message: expect.stringContaining('the array is assembled again from those that are here') as string,
        });
        await until(() => rig.arrays.get('a')?.state === 'online', 'it is started from the others');
        expect(arrayOf(rig, 'a').slots[1]!.name).toBe('m1');
        expect(await read(rig, at)).toBe(2);
        await rig.arrays.stop();
      },
    );

    it('it is started as ever if no other program ran it', async () => {
      const images = await cutShort(level, members, absent);
      for (const order of orders) {
        const { rig } = await plugAll(images, order);
        await until(() => rig.arrays.get('a')?.state === 'online', 'it is started');
        expect(arrayOf(rig, 'a').slots[1]!.name).toBe('m9');
        expect(await read(rig, at)).toBe(1);
        await rig.arrays.stop();
      }
    });
  },
);
