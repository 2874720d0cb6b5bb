import assert from 'node:assert/strict';
import { statusName } from '@raidkit/bdev';
import { CutMode } from '../disk-faults.js';
import { losable } from '../slots.js';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { IoType, Rig, Status, inWorld, usualSlots } from './rig.js';

/** Longer than the time after which an I/O of a device times out, in milliseconds. */
const givenUpMs = 40_000;

/** One member fails a write; all later reads must return the same. */
async function writeAndFail(rig: Rig, slot: number, at: number): Promise<void> {
  if (!rig.isUp) return;
  rig.disk(slot).faults.writeErrors = 1;
  rig.truth(await rig.io(IoType.Write, at, 8));
  rig.disk(slot).faults.clear();
  for (let round = 0; round < 3; round++) {
    const { volume } = rig;
    if (volume === null) return;
    const reads = await Promise.all(Array.from({ length: 8 }, () => volume.submit(IoType.Read, at, 8)));
    for (const outcome of reads) rig.truth(outcome);
    rig.check();
  }
}

/** Cases in which members fail while none can be lost, or do not answer. */
export const doubtCases: readonly ConformanceCase[] = [
  {
    id: 'DEG-07',
    title: 'with as few members as it can do with, a write that one of them fails leaves one value for every reader',
    clause: 'RedundantContext.markInconsistent',
    obligations: ['L15', 'L14'],
    applies: ifRedundant,
    run: async (options) => {
      const numSlots = usualSlots(options);
      const all = Array.from({ length: numSlots }, (_, first) =>
        losable(options.module, numSlots, first, options.levelOptions),
      );
      // Once without one member, so that a failing member may have to stay although there is another copy; and once without as
      // many as may be missing.
      const sets = new Set([
        ...all.map(([one]) => String(one)),
        ...all.map((slots) => [...slots].sort((a, b) => a - b).join()),
      ]);
      for (const set of sets) {
        const absent = set.split(',').map(Number);
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.ok(IoType.Write, 0, 128);
          for (const slot of absent) await rig.remove(slot);
          for (let slot = 0; slot < numSlots && rig.volume !== null; slot++) {
            if (!rig.isCurrent(slot)) continue;
            for (const at of [0, 8, 16, 24]) await writeAndFail(rig, slot, at);
          }
        });
      }
    },
  },
  {
    id: 'DEG-08',
    title: 'a read that a device is given up on is answered, and its buffer is left alone',
    clause: 'LevelRequest.stepStatus',
    obligations: ['L12', 'L10'],
    applies: ifRedundant,
    run: async (options) => {
      const numSlots = usualSlots(options);
      for (let slot = 0; slot < numSlots; slot++) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          const { numBlocks } = rig.client;
          const count = Math.min(256, numBlocks, rig.client.mostBlocks);
          await rig.ok(IoType.Write, 0, count);
          rig.disk(slot).faults.stuckUntil = rig.world.now + givenUpMs;
          const reads = Array.from({ length: 12 }, (_, index) => rig.client.submit(IoType.Read, (index * 8) % (count - 8), 8));
          for (const outcome of await Promise.all(reads)) rig.truth(outcome, [Status.TimedOut]);
          await rig.world.sleep(givenUpMs);
          rig.check();
          await rig.readAll();
        });
      }
    },
  },
  {
    id: 'DEG-09',
    title: 'reads that no member can do are answered with errors, and those that come later with the data',
    clause: 'LevelRequest.fail',
    obligations: ['L10', 'L11'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.load(40);
        for (const disk of rig.disks) disk.faults.readErrorRate = 1;
        const reads = Array.from({ length: 20 }, () => rig.io(IoType.Read, rig.random.int(0, 60), rig.random.int(1, 20)));
        for (const outcome of await Promise.all(reads)) {
          rig.truth(outcome);
          assert.notEqual(outcome, Status.Ok, `a read was answered ${statusName(outcome)} although no member could read`);
        }
        for (const disk of rig.disks) disk.faults.clear();
        await rig.readAll();
      }),
  },
  {
    id: 'DEG-10',
    title: 'with a journal, a crash in the middle of writes of an array that lacks members costs nothing',
    clause: 'ChangingRequest.journal',
    obligations: ['L19', 'L18'],
    applies: (module) => module.redundancy === 'parity' && module.journal,
    run: async (options) => {
      const numSlots = usualSlots(options);
      for (let first = 0; first < numSlots; first++) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.loads(2, 30);
          await rig.flush();
          const absent = rig.losable(first);
          for (const slot of absent) await rig.remove(slot);
          for (let round = 0; round < 3; round++) {
            const work = rig.crashing(4, 30);
            await rig.world.sleep(rig.random.int(2, 8));
            rig.powerCut(CutMode.Random);
            await work;
            await rig.assemble(absent);
            await rig.readAll();
          }
        });
      }
    },
  },
];
