import { IoType, Status } from '@raidkit/bdev';
import type { BlockClient } from '@raidkit/bdev';
import { CutMode, Fate } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { arrayOf, memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import { SparseMachine } from '../../../test/support/sparse-machine.js';

const MiB = 1 << 20;

interface Built {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

async function build(names: readonly string[], level = 'raid1', members = 2): Promise<Built> {
  const rig = newRig();
  const disks: RamDisk[] = [];
  for (const [index, name] of names.entries()) {
    disks.push((await plugIn(rig.registry, { name, uuid: memberUuid(index), bytes: new Uint8Array(3 * MiB) })).disk);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: 16 };
  await rig.arrays.create({ name: 'a', level, baseBdevs: names.slice(0, members), superblock: true, ...strip });
  const volume = openVolume(rig, 'a');
  await volume.write(0, new Uint8Array(64 * 512).fill(1));
  return { rig, disks, volume };
}

function failWrites(disk: RamDisk): void {
  disk.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= 2048 ? Status.IoError : Status.Ok);
}

it.each([
  ['raid1', 2],
  ['raid5f', 3],
] as const)(
  '%s: a spare takes the place of a member that fails, an array’s own before a shared one',
  async (level, members) => {
    const names = ['m0', 'm1', 'm2', 'shared', 'own'];
    const { rig, disks, volume } = await build(names, level, members);
    await rig.arrays.addSpare('shared');
    await rig.arrays.addSpare('own', 'a');
    expect(rig.registry.get('own')!.claimedBy).toBe('spare');
    failWrites(disks[0]!);
    await volume.write(0, new Uint8Array(512).fill(2));
    await until(
      () => arrayOf(rig, 'a').slots[0]!.name === 'own' && arrayOf(rig, 'a').numInSync === members,
      'the own spare is filled',
    );
    expect(rig.events).toContainEqual({ type: 'spareActivated', array: 'a', slot: 0, member: 'own' });
    failWrites(disks[1]!);
    await volume.write(0, new Uint8Array(64 * 512).fill(3));
    await until(
      () => arrayOf(rig, 'a').slots[1]!.name === 'shared' && arrayOf(rig, 'a').numInSync === members,
      'the shared spare is filled',
    );
    expect(rig.arrays.listSpares()).toEqual([]);
    expect(await volume.read(0, 64)).toEqual(new Uint8Array(64 * 512).fill(3));
  },
);

it('a member that vanishes has its time to come back, and then is given only what it missed', async () => {
  const { rig, disks, volume } = await build(['m0', 'm1', 'spare']);
  await rig.arrays.addSpare('spare');
  await rig.registry.unregister(rig.registry.get('m1')!);
  await volume.write(0, new Uint8Array(512).fill(2));
  await plugIn(rig.registry, { name: 'm1', uuid: memberUuid(1), bytes: disks[1]!.bytes });
  await until(() => arrayOf(rig, 'a').numInSync === 2, 'it is back');
  expect(rig.arrays.listSpares()).toEqual([{ bdev: 'spare', array: null }]);
  // This time the member does not come back.
  rig.arrays.setMemberOptions({ graceMs: 150 });
  await rig.registry.unregister(rig.registry.get('m1')!);
  await until(() => arrayOf(rig, 'a').slots[1]!.name === 'spare' && arrayOf(rig, 'a').numInSync === 2, 'the spare is filled');
});

it('does nothing for a member that was removed on request, and serves an array that was degraded before', async () => {
  const { rig } = await build(['m0', 'm1', 'spare']);
  await rig.arrays.addSpare('spare');
  await rig.arrays.removeBaseBdev('m1');
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(arrayOf(rig, 'a').numDiscovered).toBe(1);
  rig.arrays.removeSpare('spare');
  expect(rig.registry.get('spare')!.claimedBy).toBeNull();
  const other = await build(['m0', 'm1', 'late']);
  failWrites(other.disks[1]!);
  await other.volume.write(0, new Uint8Array(512).fill(2));
  await until(() => arrayOf(other.rig, 'a').numDiscovered === 1, 'it is degraded');
  await other.rig.arrays.addSpare('late', 'a');
  await until(() => arrayOf(other.rig, 'a').numInSync === 2, 'the late spare is filled');
});

it('refuses what is claimed, too small for any array, or unknown', async () => {
  const { rig } = await build(['m0', 'm1']);
  await expect(rig.arrays.addSpare('m0')).rejects.toThrow(/claimed/);
  await expect(rig.arrays.addSpare('nothing')).rejects.toThrow(/no bdev nothing/);
  await expect(rig.arrays.addSpare('m0', 'nothing')).rejects.toThrow(/no array nothing/);
  expect(() => rig.arrays.removeSpare('m0')).toThrow(/no spare m0/);
  const small = await plugIn(rig.registry, { name: 'small', uuid: memberUuid(7), bytes: new Uint8Array(2 * MiB) });
  await rig.arrays.addSpare('small');
  await rig.registry.unregister(rig.registry.get('m1')!);
  rig.arrays.setMemberOptions({ graceMs: 0 });
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(rig.arrays.listSpares()).toEqual([{ bdev: 'small', array: null }]);
  await rig.registry.unregister(small.bdev);
  expect(rig.arrays.listSpares()).toEqual([]);
});

it('a spare is kept beside an array that is only read and lacks a member', async () => {
  const { rig, disks, volume } = await build(['m0', 'm1']);
  volume.descriptor.close();
  await rig.arrays.stop();
  const again = newRig();
  await plugIn(again.registry, { name: 'm0', uuid: memberUuid(0), bytes: disks[0]!.bytes.slice() });
  await again.arrays.startDegraded('a', { readOnly: true });
  await plugIn(again.registry, { name: 'spare', uuid: memberUuid(2), bytes: new Uint8Array(3 * MiB) });
  await again.arrays.addSpare('spare');
  for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(again.arrays.listSpares().map(({ bdev }) => bdev)).toEqual(['spare']);
  expect(again.registry.get('spare')!.claimedBy).toBe('spare');
});

/** A raid1 of the first disks; the others are plugged in, and not claimed. */
async function machineOf(members: number, others: number, bytes = 3 * MiB): Promise<SparseMachine> {
  const machine = new SparseMachine(new Array<number>(members + others).fill(bytes));
  await machine.boot();
  await machine.create(
    'raid1',
    machine.disks.slice(0, members).map(({ name }) => name),
  );
  await write(machine, 1);
  return machine;
}

async function write(machine: SparseMachine, byte: number, blocks = 64): Promise<void> {
  const volume = machine.openVolume();
  const piece = new Uint8Array(Math.min(blocks, 2048) * 512).fill(byte);
  for (let at = 0; at < blocks; at += 2048) await machine.until(volume.write(at, piece));
  volume.descriptor.close();
}

const addSpare = (machine: SparseMachine, name: string): Promise<void> => machine.until(machine.arrays.addSpare(name));
const spares = (machine: SparseMachine): string[] => machine.arrays.listSpares().map(({ bdev }) => bdev);
const inSync = (machine: SparseMachine): (string | null)[] =>
  machine.array.slots.map(({ isInSync, name }) => (isInSync ? name : null));

describe('the grace period', () => {
  it('is that of the member that vanished, whatever happens to others, and whenever a spare is added', async () => {
    const machine = await machineOf(3, 2);
    await addSpare(machine, 'm3');
    await machine.unplug(1);
    await addSpare(machine, 'm4');
    await machine.sleep(1000);
    await machine.until(machine.arrays.failMember('a', 2, 'it is old'));
    await machine.sleep(10_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', null, 'm3'], ['m4']]);
    await machine.plugIn(1);
    await machine.sleep(100_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm1', 'm3'], ['m4']]);
  });

  it('begins anew when the member vanishes again', async () => {
    const machine = await machineOf(2, 1);
    await addSpare(machine, 'm2');
    await machine.unplug(1);
    await machine.sleep(10_000);
    await machine.plugIn(1);
    await machine.sleep(45_000);
    expect(inSync(machine)).toEqual(['m0', 'm1']);
    await machine.unplug(1);
    await machine.sleep(55_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', null], ['m2']]);
    await machine.sleep(10_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
  });

  it('begins when the array comes up without the member', async () => {
    const { machine, start } = await withLatecomer();
    await machine.unplug(1);
    await start();
    await machine.sleep(5000);
    await addSpare(machine, 'm2');
    await machine.sleep(50_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', null], ['m2']]);
    await machine.sleep(15_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
  });

  it('may be made shorter while it runs', async () => {
    const machine = await machineOf(2, 1);
    await addSpare(machine, 'm2');
    await machine.unplug(1);
    await machine.sleep(10_000);
    machine.arrays.setMemberOptions({ graceMs: 5000 });
    await machine.sleep(1000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
  });

  it('ends with the arrays', async () => {
    const machine = await machineOf(2, 1);
    await addSpare(machine, 'm2');
    await machine.unplug(1);
    await machine.until(machine.arrays.stop());
    await machine.sleep(100_000);
    expect(machine.registry.get('m2')!.claimedBy).toBeNull();
  });
});

/** In the turn in which the array has come up without a member. */
function onDegraded(machine: SparseMachine, then: () => unknown): void {
  machine.arrays.on((event) => {
    if (event.type === 'arrayOnline' && event.degraded) then();
  });
}

/**
 * A raid1 that went on without its second member, in another process, which has seen this one, and, when it starts, the other one. A
 * look at the second one takes a while.
 */
async function withLatecomer(
  leave = (machine: SparseMachine): Promise<void> => machine.unplug(1),
): Promise<{ machine: SparseMachine; start: () => Promise<void> }> {
  const machine = await machineOf(2, 1);
  await leave(machine);
  await write(machine, 2);
  await machine.until(machine.arrays.stop());
  machine.cut(CutMode.KeepAll);
  await machine.boot({ disks: [2, 1] });
  onDegraded(machine, () => (machine.disks[1]!.faults.slowness = 1000));
  return { machine, start: () => machine.plugIn(0) };
}

describe('a member that is there when its array starts without it', () => {
  it.each([
    ['a spare that stood by before', 0],
    ['a spare that stood by before', 60_000],
    ['a spare that is added then', 0],
    ['a spare that is added then', 60_000],
  ] as const)('goes before %s, with a grace period of %i ms', async (what, graceMs) => {
    const { machine, start } = await withLatecomer();
    machine.arrays.setMemberOptions({ graceMs });
    const added: Promise<void>[] = [];
    if (what === 'a spare that stood by before') await addSpare(machine, 'm2');
    else onDegraded(machine, () => added.push(machine.arrays.addSpare('m2')));
    await start();
    await machine.until(Promise.all(added));
    await machine.sleep(100_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm1'], ['m2']]);
    expect(machine.array.history.map(({ type }) => type)).toEqual(['rebuild']);
  });

  it.each([
    ['is gone again', 0],
    ['is gone again', 60_000],
    ['cannot be read', 0],
    ['cannot be read', 60_000],
  ] as const)('and %s leaves its place to the spare, with a grace period of %i ms', async (what, graceMs) => {
    const { machine, start } = await withLatecomer();
    machine.arrays.setMemberOptions({ graceMs });
    await addSpare(machine, 'm2');
    const gone: Promise<void>[] = [];
    onDegraded(machine, () => {
      if (what === 'is gone again') gone.push(machine.registry.unregister(machine.registry.get('m1')!));
      else machine.disks[1]!.onSubmit = () => Fate.Fail;
    });
    await start();
    await machine.sleep(graceMs + 5000);
    await machine.until(Promise.all(gone));
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
  });

  it('does not go before a spare if it has failed', async () => {
    const { machine, start } = await withLatecomer((one) => one.until(one.arrays.failMember('a', 1, 'it is old')));
    await addSpare(machine, 'm2');
    await start();
    await machine.sleep(5000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
  });
});

describe('while others are being filled', () => {
  /** Rebuilds take seconds. */
  async function slowly(members: number, others: number): Promise<SparseMachine> {
    const machine = await machineOf(members, others, 9 * MiB);
    machine.arrays.setProcessOptions({ maxBandwidthMbSec: 1 });
    await write(machine, 3, 8 * 2048);
    return machine;
  }

  it.each(['vanished', 'was taken out by hand'])('a member that %s comes back, and is taken afterwards', async (what) => {
    const machine = await slowly(3, 1);
    await addSpare(machine, 'm3');
    await machine.unplug(1);
    if (what !== 'vanished') await machine.until(machine.arrays.removeBaseBdev('m2'));
    await machine.unplug(2);
    await write(machine, 4, 8 * 2048);
    await machine.plugIn(1);
    await machine.sleep(1000);
    expect(machine.array.process?.type).toBe('rebuild');
    await machine.plugIn(2);
    expect(inSync(machine)).toEqual(['m0', null, null]);
    await machine.sleep(100_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm1', 'm2'], ['m3']]);
  });

  it('the device that was to replace a member that has failed waits for its turn', async () => {
    const machine = await slowly(3, 2);
    await addSpare(machine, 'm4');
    await machine.until(machine.arrays.replaceBaseBdev('a', 'm1', 'm3'));
    await machine.sleep(1000);
    // The copy does not end before a rebuild has begun.
    machine.disks[3]!.faults.slowness = 1e5;
    await machine.sleep(100);
    await machine.until(Promise.all([2, 1].map((slot) => machine.arrays.failMember('a', slot, 'it is old'))));
    await machine.sleep(20_000);
    machine.disks[3]!.faults.slowness = 1;
    await machine.sleep(100_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm3', 'm4'], []]);
  });

  it('a place that waits for a spare gets it when that is called off', async () => {
    const machine = await slowly(3, 2);
    for (const name of ['m3', 'm4']) await addSpare(machine, name);
    await machine.until(machine.arrays.failMember('a', 1, 'it is old'));
    await machine.sleep(1000);
    await machine.until(machine.arrays.failMember('a', 2, 'it is old'));
    await machine.sleep(1000);
    expect([machine.array.process?.type, spares(machine)]).toEqual(['rebuild', ['m4']]);
    machine.arrays.cancelProcess('a', 'it is in the way');
    await machine.sleep(30_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', null, 'm4'], []]);
  });
});

it('a spare takes the place of which a person had the device refused, when the time is over meanwhile', async () => {
  const machine = await machineOf(2, 2);
  await addSpare(machine, 'm2');
  await machine.unplug(1);
  await machine.sleep(59_000);
  Object.assign(machine.disks[3]!.faults, { slowness: 1e6, readErrorRate: 1 });
  const added = machine.arrays.addBaseBdev('a', 'm3');
  added.catch(() => undefined);
  await machine.sleep(2000);
  expect(machine.array.slots[1]).toMatchObject({ role: 'opening', name: null });
  await expect(machine.until(added)).rejects.toThrow(/cannot be read/);
  await machine.sleep(5000);
  expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm2'], []]);
});

describe('a spare that is looked at', () => {
  it('and cannot be read leaves its place to the member that has come back meanwhile', async () => {
    const machine = await machineOf(2, 1);
    await addSpare(machine, 'm2');
    await machine.unplug(1);
    await write(machine, 2);
    await machine.sleep(59_000);
    Object.assign(machine.disks[2]!.faults, { slowness: 1e6, readErrorRate: 1 });
    await machine.sleep(2000);
    await machine.plugIn(1);
    expect(machine.array.slots[1]).toMatchObject({ role: 'opening', name: null });
    await machine.sleep(100_000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', 'm1'], []]);
  });

  it('stands by for others when its array ends', async () => {
    const machine = await machineOf(2, 3);
    const create = machine.arrays.create({ name: 'b', level: 'raid1', baseBdevs: ['m3', 'm4'], superblock: true });
    await machine.until(create);
    await addSpare(machine, 'm2');
    machine.disks[2]!.faults.slowness = 1e4;
    await machine.until(machine.arrays.failMember('a', 1, 'it is old'));
    await machine.sleep(1);
    expect(spares(machine)).toEqual([]);
    await machine.until(machine.arrays.delete('a'));
    await machine.sleep(5000);
    expect(spares(machine)).toEqual(['m2']);
    machine.disks[2]!.faults.slowness = 1;
    await machine.until(machine.arrays.failMember('b', 0, 'it is old'));
    await machine.sleep(5000);
    expect(machine.arrays.get('b')?.slots.map(({ name }) => name)).toEqual(['m2', 'm4']);
  });

  it('and is too small for checksums stands by for others', async () => {
    const machine = new SparseMachine([8 * MiB, 8 * MiB, 8 * MiB - 4096]);
    await machine.boot();
    const create = machine.arrays.create({
      name: 'a',
      level: 'raid1',
      baseBdevs: ['m0', 'm1'],
      superblock: true,
      integrity: true,
    });
    await machine.until(create);
    const { dataOffset, dataSize } = machine.array.slots[1]!;
    expect(machine.disks[2]!.numBlocks).toBeGreaterThan(dataOffset + dataSize);
    await addSpare(machine, 'm2');
    await machine.until(machine.arrays.failMember('a', 1, 'it is old'));
    await machine.sleep(5000);
    expect([inSync(machine), spares(machine)]).toEqual([['m0', null], ['m2']]);
  });
});

it.each([
  ['the device that was to replace it', 'm2', ['m3']],
  ['a spare, if that device is gone,', 'm3', []],
] as const)('%s is filled when a member fails while it is copied', async (what, name, left) => {
  const machine = await machineOf(2, 2);
  await addSpare(machine, 'm3');
  machine.disks[2]!.faults.slowness = 1e4;
  await machine.until(machine.arrays.replaceBaseBdev('a', 'm1', 'm2'));
  await machine.sleep(10);
  expect(machine.array.process?.type).toBe('replace');
  const failed = machine.arrays.failMember('a', 1, 'it is old');
  if (name === 'm3') await machine.unplug(2);
  await machine.until(failed);
  machine.disks[2]!.faults.slowness = 1;
  await machine.sleep(100_000);
  expect([inSync(machine), spares(machine)]).toEqual([['m0', name], left]);
});
