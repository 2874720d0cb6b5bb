import assert from 'node:assert/strict';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { IoType, Rig, Status, inWorld, usualSlots } from './rig.js';
import type { ConformanceOptions } from './rig.js';

/** Runs the steps once per slot, each on a rig of its own. */
async function eachSlot(options: ConformanceOptions, steps: (rig: Rig, slot: number) => Promise<void>): Promise<void> {
  const numSlots = usualSlots(options);
  for (let slot = 0; slot < numSlots; slot++) await inWorld(new Rig(options), (rig) => steps(rig, slot));
}

/** Cases of arrays that have lost members or whose members fail. */
export const degradedCases: readonly ConformanceCase[] = [
  {
    id: 'DEG-01',
    title: 'with any one member removed everything is read and written as before',
    clause: 'LevelRequest.hasMember',
    obligations: ['L02', 'L09', 'L18'],
    applies: ifRedundant,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.load(40);
        await rig.remove(slot);
        await rig.readAll();
        await rig.loads(3, 40);
        await rig.readAll();
      }),
  },
  {
    id: 'DEG-02',
    title: 'a member that cannot read is read around, and no client notices',
    clause: 'LevelRequest.andThen',
    obligations: ['L11'],
    applies: ifRedundant,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.load(60);
        rig.disk(slot).faults.readErrorRate = 0.5;
        await rig.loads(3, 40);
        await rig.readAll();
        rig.disk(slot).faults.clear();
        await rig.readAll();
      }),
  },
  {
    id: 'DEG-03',
    title: 'unreadable blocks are rewritten from redundancy',
    clause: 'ReadRequest.requestRepair',
    obligations: ['L13', 'L17'],
    applies: ifRedundant,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.ok(IoType.Write, 0, 64);
        const { dataOffset } = rig.array.slots[slot] ?? { dataOffset: 0 };
        const disk = rig.disk(slot);
        for (let sector = 0; sector < 4; sector++) disk.latent.add(dataOffset + sector);
        // A level may choose which member to read. Load on the others, and requests of different sizes, make it read this one
        // too.
        for (let round = 0; round < 40 && disk.latent.size > 0; round++) {
          await Promise.all(Array.from({ length: 8 }, () => rig.ok(IoType.Read, 0, rig.random.int(4, 64))));
          await rig.world.sleep(20);
        }
        const isDerived = rig.array.level?.redundantSlots?.(0).includes(slot) ?? false;
        assert(
          disk.latent.size === 0 || (isDerived && options.module.redundancy === 'parity'),
          'the blocks are still unreadable',
        );
        await rig.checkRedundancy();
      }),
  },
  {
    id: 'DEG-04',
    title: 'a member that fails a write in mid-I/O is out, and no client notices',
    clause: 'LevelRequest.end',
    obligations: ['L07', 'L10', 'L02'],
    applies: ifRedundant,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.load(20);
        const work = rig.loads(4, 40);
        await rig.world.sleep(4);
        rig.disk(slot).faults.writeErrors = 1;
        await work;
        await rig.until('the member is out', () => rig.array.numInSync === rig.numSlots - 1);
        await rig.readAll();
      }),
  },
  {
    id: 'DEG-05',
    title: 'a member that is pulled out in mid-I/O is missed by no client',
    clause: 'RaidIo.submitPart',
    obligations: ['L07', 'L09'],
    applies: ifRedundant,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.load(20);
        const work = rig.loads(4, 40);
        await rig.world.sleep(4);
        rig.disk(slot).vanish();
        await rig.stack.pullOut(rig.disk(slot));
        await work;
        await rig.readAll();
      }),
  },
  {
    id: 'DEG-06',
    title: 'one failure more than the level survives is answered with errors, never with wrong data',
    clause: 'LevelRequest.end',
    obligations: ['L10', 'L11', 'L15', 'L16'],
    applies: always,
    run: (options) =>
      eachSlot(options, async (rig, slot) => {
        await rig.create();
        await rig.load(60);
        for (let more = 0; more <= rig.spareMembers; more++) rig.disk((slot + more) % rig.numSlots).faults.writeErrorRate = 0.5;
        const outcomes = new Set<number>();
        for (let left = 60; left > 0; left--) {
          const type = rig.random.pick([IoType.Write, IoType.Read]);
          outcomes.add(await rig.io(type, rig.random.int(0, 200), rig.random.int(1, 20)));
        }
        for (const outcome of outcomes) {
          const isTruth = outcome === Status.Ok || outcome === Status.IoError || outcome === Status.NoDevice;
          assert(isTruth, `a request was answered ${outcome}`);
        }
      }),
  },
];
