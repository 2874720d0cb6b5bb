import { IoType, Status } from '@raidkit/bdev';
import type { LevelOptions } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { describe, expect, it } from 'vitest';
import { blocks } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, readAll, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

const MiB = 1 << 20;
const memberBytes = MiB + 96 * 1024;

interface Built {
  rig: Rig;
  disks: RamDisk[];
}

async function plugInAll(rig: Rig, images: readonly (Uint8Array | null)[]): Promise<RamDisk[]> {
  const disks: RamDisk[] = [];
  for (const [index, bytes] of images.entries())
    if (bytes !== null) disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  await rig.registry.waitForExamine();
  return disks;
}

/** An array of strips of 4 KiB, filled with {@link contents}. */
async function filled(members: number, options: LevelOptions, seed = 1): Promise<Built> {
  const rig = newRig();
  const disks = await plugInAll(
    rig,
    Array.from({ length: members }, () => new Uint8Array(memberBytes)),
  );
  const baseBdevs = disks.map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level: 'raid10', baseBdevs, stripSizeKb: 4, superblock: true, options });
  await fill(rig, seed);
  return { rig, disks };
}

async function fill(rig: Rig, seed: number): Promise<void> {
  const volume = openVolume(rig, 'a');
  await volume.write(0, contents(volume.numBlocks, seed));
  await volume.flush();
  volume.descriptor.close();
}

function contents(numBlocks: number, seed: number): Uint8Array {
  const words = new Uint32Array((numBlocks * 512) / 4);
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index + 1, 2654435761) ^ seed;
  return new Uint8Array(words.buffer);
}

async function expectContents(rig: Rig, seed: number): Promise<void> {
  const volume = openVolume(rig, 'a');
  const found = await readAll(volume);
  expect(Buffer.compare(found, contents(volume.numBlocks, seed))).toBe(0);
  volume.descriptor.close();
}

/** Whether, by the rule of the layout, a copy of everything is left. */
function isThere(members: number, { copies = 2, layout = 'near' }: LevelOptions, missing: readonly number[]): boolean {
  const number = Number(copies);
  return Array.from({ length: members }, (_, strip) => strip).every((strip) =>
    Array.from({ length: number }, (_, copy) => (layout === 'near' ? strip * number + copy : strip + copy) % members).some(
      (slot) => !missing.includes(slot),
    ),
  );
}

async function settled(rig: Rig): Promise<void> {
  await until(() => arrayOf(rig, 'a').process === null, 'nothing is under way');
  await arrayOf(rig, 'a').processEnded;
}

async function add(rig: Rig, index: number): Promise<void> {
  await rig.arrays.addBaseBdev('a', `m${index}`);
  await until(() => arrayOf(rig, 'a').slots.some(({ name, isInSync }) => name === `m${index}` && isInSync), `m${index} is in`);
  await settled(rig);
}

async function mismatches(rig: Rig): Promise<number> {
  rig.arrays.startSync('a', 'check');
  await settled(rig);
  const [record] = arrayOf(rig, 'a').history;
  expect(record).toMatchObject({ type: 'check', error: null });
  return record?.mismatchBlocks ?? -1;
}

describe('whichever two members are gone, everything is read and written, or the array is offline', () => {
  it.each<[number, LevelOptions]>([
    [4, {}],
    [5, {}],
    [4, { layout: 'offset' }],
    [4, { copies: 3 }],
    [5, { copies: 3 }],
    [6, { copies: 3 }],
    [4, { copies: 3, layout: 'offset' }],
  ])('%i members, %o', async (members, options) => {
    const { rig, disks } = await filled(members, options);
    let seed = 1;
    for (let first = 0; first < members; first++)
      for (let second = first + 1; second < members; second++) {
        const images = disks.map(({ bytes }) => bytes.slice());
        const survives = isThere(members, options, [first, second]);
        await rig.arrays.removeBaseBdev(`m${first}`);
        if (!survives) {
          expect(arrayOf(rig, 'a').canDoWithout(arrayOf(rig, 'a').slotAt(second))).toBe(false);
          // A start without the two is refused.
          const again = newRig();
          await plugInAll(
            again,
            images.map((bytes, index) => (index === first || index === second ? null : bytes)),
          );
          await expect(again.arrays.startDegraded('a')).rejects.toMatchObject({ code: 'ERR_RAID_TOO_FEW_MEMBERS' });
          await again.arrays.stop();
        } else {
          await rig.arrays.removeBaseBdev(`m${second}`);
          await expectContents(rig, seed);
          expect(await mismatches(rig)).toBe(0);
          await fill(rig, ++seed);
          await expectContents(rig, seed);
          await add(rig, second);
        }
        await add(rig, first);
        expect(arrayOf(rig, 'a').numInSync).toBe(members);
        expect(await mismatches(rig)).toBe(0);
        await expectContents(rig, seed);
      }
    await rig.arrays.stop();
  });
});

it('copies that differ while a member is out are found, and made to agree, where copies are left', async () => {
  const { rig, disks } = await filled(3, {});
  await rig.arrays.removeBaseBdev('m0');
  // Strip 2 is on slots 1 and 2, in row 1.
  disks[1]!.bytes.fill(9, MiB + 8 * 512, MiB + 10 * 512);
  expect(await mismatches(rig)).toBe(2);
  rig.arrays.startSync('a', 'repair', { wrong: 1 });
  await settled(rig);
  expect(arrayOf(rig, 'a').history[0]).toMatchObject({ type: 'repair', error: null, repairedBlocks: 2 });
  expect(await mismatches(rig)).toBe(0);
  await expectContents(rig, 1);
});

it('a strip that cannot be read is given anew from where its copy is, by a check and by a read', async () => {
  for (const options of [{}, { copies: 3, layout: 'offset' }]) {
    const { rig, disks } = await filled(3, options);
    const bad = new Set([MiB / 512 + 3, MiB / 512 + 9, MiB / 512 + 17]);
    disks[2]!.fault = (io) => {
      const covered = [...bad].filter((block) => block >= io.offsetBlocks && block < io.offsetBlocks + io.numBlocks);
      if (io.type === IoType.Write) for (const block of covered) bad.delete(block);
      return covered.length > 0 && io.type === IoType.Read ? Status.IoError : Status.Ok;
    };
    expect(await mismatches(rig)).toBe(0);
    expect([...bad]).toEqual([]);
    await expectContents(rig, 1);
    await rig.arrays.stop();
  }
});

it('a write that fails where no member can leave is answered with an error, and copies agree again afterwards', async () => {
  const { rig, disks } = await filled(3, {});
  await rig.arrays.removeBaseBdev('m0');
  // Strip 2 is on slots 1 and 2; without slot 0 each of them is the last one to have something else.
  const volume = openVolume(rig, 'a');
  let isFailing = true;
  disks[1]!.fault = (io) =>
    isFailing && io.type === IoType.Write && io.offsetBlocks >= MiB / 512 ? Status.IoError : Status.Ok;
  await expect(volume.write(16, blocks(8, 7))).rejects.toThrow();
  isFailing = false;
  expect(arrayOf(rig, 'a').numInSync).toBe(2);
  const seen = await volume.read(16, 8);
  for (let tries = 0; tries < 4; tries++) expect(Buffer.compare(await volume.read(16, 8), seen)).toBe(0);
  await until(() => arrayOf(rig, 'a').bitmap?.regionsToResync === 0 && arrayOf(rig, 'a').process === null, 'it is in sync');
  expect(disks[1]!.bytes.subarray(MiB + 8 * 512, MiB + 16 * 512)).toEqual(
    disks[2]!.bytes.subarray(MiB + 8 * 512, MiB + 16 * 512),
  );
  expect(Buffer.compare(await volume.read(16, 8), seen)).toBe(0);
});

it('a start asks the options which members may be missing, before it has all of them', async () => {
  const { rig, disks } = await filled(3, { copies: 3 });
  await rig.arrays.removeBaseBdev('m0');
  await rig.arrays.removeBaseBdev('m1');
  await rig.arrays.stop();
  const again = newRig();
  await plugInAll(again, [null, null, disks[2]!.bytes.slice()]);
  await until(() => again.arrays.get('a')?.state === 'online', 'it comes up by itself');
  expect(arrayOf(again, 'a').options).toEqual({ copies: 3, striped: 3 });
  await expectContents(again, 1);
});

it('is not started when no member says the options', async () => {
  const { rig, disks } = await filled(3, { layout: 'offset' });
  await rig.arrays.stop();
  const images = disks.map(({ bytes }) => bytes.slice());
  for (const bytes of images) bytes.fill(0, 64 * 1024, 128 * 1024);
  const again = newRig();
  await plugInAll(again, images);
  expect(arrayOf(again, 'a').state).toBe('configuring');
  await expect(again.arrays.startDegraded('a', { force: true })).rejects.toThrow(
    /no readable member records the options of level raid10/,
  );
  // One member is enough.
  const more = newRig();
  await plugInAll(more, [images[0]!, images[1]!, disks[2]!.bytes.slice()]);
  await until(() => more.arrays.get('a')?.state === 'online', 'it comes up');
  await expectContents(more, 1);
});

it('is not started while a member says other options than the others', async () => {
  const { disks } = await filled(4, { layout: 'near' }, 6);
  const images = disks.map(({ bytes }) => bytes.slice());
  // The header on m3 says another layout, in which the array has the same size, and is the newest.
  const bench = newRig({ mayExamine: () => false });
  await plugInAll(bench, images);
  const headers = spdkSuperblockStore.extension!;
  const descriptor = bench.registry.open('m3', { writable: true });
  const { record } = (await spdkSuperblockStore.read(descriptor)) as { record: { uuid: string } };
  const [header] = (await headers.readHeaders(descriptor, record.uuid)).sort((a, b) => b.generation - a.generation);
  const generation = header!.generation + 1;
  await headers.writeHeader(descriptor, { ...header!, generation, levelOptions: '{"layout":"offset"}' });
  descriptor.close();
  const again = newRig();
  await plugInAll(again, images);
  expect(arrayOf(again, 'a').startError).toMatch(/different options .* m3 of slot 3 has {"layout":"offset"}/);
  await expect(again.arrays.startDegraded('a')).rejects.toThrow(/Close the member that is wrong/);
  // Without it, there is no contradiction.
  await again.registry.unregister(again.registry.get('m3')!);
  await again.arrays.startDegraded('a');
  await expectContents(again, 6);
});

it('takes no fewer members than copies', async () => {
  const rig = newRig();
  const create = rig.arrays.create({
    name: 'a',
    level: '10',
    baseBdevs: ['m0', 'm1'],
    stripSizeKb: 4,
    superblock: true,
    options: { copies: 3 },
  });
  await expect(create).rejects.toThrow(/level raid10 does not support 2 members with the options \{"copies":3\}/);
});
