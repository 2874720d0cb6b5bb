import { BlockClient, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import type { AssemblyOptions } from '@raidkit/core';
import { CutMode } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { blocks, build } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, readAll, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { SparseMachine } from '../../../test/support/sparse-machine.js';

const levels: [string, number][] = [
  ['raid0', 2],
  ['concat', 2],
  ['raid1', 2],
  ['raid5f', 3],
];

/** What the members hold after these blocks of ones and twos, stopped or torn away while writes go on. */
async function makeImages(level: string, members: number, how: 'stopped' | 'crashed'): Promise<Uint8Array[]> {
  const { rig, disks, volume } = await build(level, members);
  await volume.write(0, blocks(100, 1));
  await volume.write(500, blocks(100, 2));
  await volume.flush();
  if (how === 'crashed') {
    // One member has the last write, the others do not.
    for (const disk of disks.slice(1)) disk.fault = ({ type }) => (type === IoType.Write ? null : Status.Ok);
    volume.write(0, blocks(8, 3)).catch(() => undefined);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    return disks.map(({ bytes }) => bytes.slice());
  }
  volume.descriptor.close();
  await rig.arrays.stop();
  return disks.map(({ bytes }) => bytes.slice());
}

interface Found {
  rig: Rig;
  disks: RamDisk[];
  /** I/O to members other than reads. */
  changes: string[];
}

/** A new process, which finds these members as devices that can only be read. */
async function findReadOnly(
  images: readonly (Uint8Array | null)[],
  assembly: Partial<AssemblyOptions>,
  fault: (io: BdevIo, index: number) => number = () => Status.Ok,
): Promise<Found> {
  const rig = newRig({ assembly });
  const changes: string[] = [];
  const disks: RamDisk[] = [];
  for (const [index, image] of images.entries()) {
    if (image === null) continue;
    const watched = (io: BdevIo): number => {
      if (io.type !== IoType.Read && io.type !== IoType.Flush)
        changes.push(`${io.type} at ${io.offsetBlocks} of member ${index}`);
      return fault(io, index);
    };
    const options = { name: `m${index}`, uuid: memberUuid(index), bytes: image.slice(), fault: watched, isReadOnly: true };
    disks.push((await plugIn(rig.registry, options)).disk);
  }
  await rig.registry.waitForExamine();
  return { rig, disks, changes };
}

const openToRead = ({ rig }: Found): BlockClient => new BlockClient(rig.registry.open('a'));

describe.each(levels)('%s over devices that can only be read', (level, members) => {
  it('is read whole, and nothing is written to them', async () => {
    const images = await makeImages(level, members, 'stopped');
    const found = await findReadOnly(images, { start: 'readOnly' });
    expect(arrayOf(found.rig, 'a').state).toBe('online');
    expect(() => found.rig.registry.open('a', { writable: true })).toThrow(/read-only/);
    const client = openToRead(found);
    const data = await readAll(client);
    expect(data.subarray(0, 100 * 512).every((byte) => byte === 1)).toBe(true);
    expect(data.subarray(500 * 512, 600 * 512).every((byte) => byte === 2)).toBe(true);
    expect(() => found.rig.arrays.startSync('a', 'check')).toThrow(/read-only/);
    client.descriptor.close();
    await found.rig.arrays.stop();
    expect(found.changes).toEqual([]);
  });

  it('is read after a crash, and nothing is written to them', async () => {
    const images = await makeImages(level, members, 'crashed');
    const found = await findReadOnly(images, { start: 'readOnly' });
    const client = openToRead(found);
    const data = await readAll(client);
    // These blocks were not being written.
    expect(data.subarray(500 * 512, 600 * 512).every((byte) => byte === 2)).toBe(true);
    client.descriptor.close();
    await found.rig.arrays.stop();
    expect(found.changes).toEqual([]);
    expect(found.rig.events.filter(({ type }) => type === 'memberFailed')).toEqual([]);
  });
});

describe.each(levels.slice(2))('%s over devices that can only be read', (level, members) => {
  it('is read without a member, and past what another one cannot read', async () => {
    const images = await makeImages(level, members, 'stopped');
    const degraded = await findReadOnly([null, ...images.slice(1)], { start: 'readOnly', degradedStartMs: 20 });
    // The absent copy of a mirror may be the newer one: the operator has to say that it is not.
    if (level === 'raid1') await degraded.rig.arrays.startDegraded('a');
    else await until(() => degraded.rig.registry.get('a') !== undefined, 'the array is up without slot 0');
    const [whole, unreadable] = [degraded, await findReadOnly(images, { start: 'readOnly' }, unreadableBlock)];
    for (const found of [whole, unreadable]) {
      const client = openToRead(found);
      const data = await readAll(client);
      expect(data.subarray(0, 100 * 512).every((byte) => byte === 1)).toBe(true);
      client.descriptor.close();
      await found.rig.arrays.stop();
      expect(found.changes).toEqual([]);
    }
  });
});

it.each(levels.slice(2))('%s that is only read stays as it is however long it is up', async (level, members) => {
  const machine = new SparseMachine(new Array<number>(members).fill(64 << 20));
  await machine.boot();
  await machine.create(
    level,
    machine.disks.map(({ name }) => name),
  );
  await machine.until(machine.openVolume().write(0, blocks(8, 1)));
  machine.cut(CutMode.KeepAll);
  await machine.boot({ assembly: { start: 'readOnly' } });
  const changes: string[] = [];
  for (const disk of machine.disks) {
    disk.onSubmit = (io) => {
      if (io.type !== IoType.Read && io.type !== IoType.Flush) changes.push(`${io.type} at ${io.offsetBlocks} of ${disk.name}`);
      return undefined;
    };
  }
  const client = new BlockClient(machine.registry.open('a'));
  await machine.until(client.read(0, 8));
  await machine.sleep(600_000);
  client.descriptor.close();
  await machine.until(machine.arrays.stop());
  expect(changes).toEqual([]);
});

/** Block 2052 of the first member, in its data, cannot be read. */
function unreadableBlock(io: BdevIo, index: number): number {
  const isHit = io.type === IoType.Read && io.offsetBlocks <= 2052 && io.offsetBlocks + io.numBlocks > 2052;
  return isHit && index === 0 ? Status.IoError : Status.Ok;
}

it('devices that can only be read make no array that could be written to', async () => {
  const found = await findReadOnly(await makeImages('raid1', 2, 'stopped'), {});
  expect(found.rig.registry.get('a')).toBeUndefined();
  expect(found.changes).toEqual([]);
});

it('an array waits for a person who starts it, where that is the policy', async () => {
  const images = await makeImages('raid5f', 3, 'stopped');
  const rig = newRig({ assembly: { start: 'manual' } });
  for (const [index, bytes] of images.entries())
    await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes });
  await rig.registry.waitForExamine();
  expect(arrayOf(rig, 'a').state).toBe('configuring');
  await rig.arrays.startDegraded('a');
  expect(rig.registry.get('a')?.isReadOnly).toBe(false);
});
