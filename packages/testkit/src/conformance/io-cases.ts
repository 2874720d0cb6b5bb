import assert from 'node:assert/strict';
import { CutMode } from '../disk-faults.js';
import { acceptedSlots, leastSlots } from '../slots.js';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { IoType, Rig, Status, inWorld, usualSlots } from './rig.js';
import type { ConformanceOptions } from './rig.js';

const fua = 1;
/** More requests than a level reserves memory for. */
const manyRequests = 280;

/** Cases of reads and writes of an array that has all its members. */
export const ioCases: readonly ConformanceCase[] = [
  {
    id: 'RW-01',
    title: 'every block of the volume has a place of its own',
    clause: 'PlainLevel.submitRw',
    obligations: ['L06', 'L07'],
    applies: always,
    run: (options) =>
      inWorld(
        new Rig(options, {
          dataKib: [64, 96, 80, 64],
          numSlots: acceptedSlots(options.module, leastSlots(options.module) + 1, options.levelOptions),
        }),
        async (rig) => {
          await rig.create();
          for (let block = 0; block < rig.client.numBlocks; block++) await rig.ok(IoType.Write, block, 1);
          await rig.readAll();
          await rig.checkRedundancy();
        },
      ),
  },
  {
    id: 'RW-02',
    title: 'requests of any size and place read what was written',
    clause: 'PlainLevel.submitRw',
    obligations: ['L06', 'L07'],
    applies: always,
    run: async (options) => {
      for (const blockSize of [512, 4096]) {
        await inWorld(new Rig(options, { blockSize, stripSizeKb: 8 }), async (rig) => {
          await rig.create();
          await rig.load(150);
          await rig.readAll();
          await rig.checkRedundancy();
        });
      }
    },
  },
  {
    id: 'RW-03',
    title: 'requests side by side, overlapping, leave one order of writes behind, on every member',
    clause: 'PlainLevel.submitRw',
    obligations: ['L08'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.loads(6, 60);
        await rig.readAll();
        await rig.checkRedundancy();
        await rig.readAll();
      }),
  },
  {
    id: 'RW-04',
    title: 'the first and the last blocks, alone and with their neighbours',
    clause: 'RaidGeometry.numBlocks',
    obligations: ['L04', 'L06'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        const { numBlocks, mostBlocks } = rig.client;
        const long = Math.min(numBlocks, mostBlocks, 600);
        for (const [offset, count] of [
          [0, 1],
          [numBlocks - 1, 1],
          [0, long],
          [numBlocks - long, long],
          [1, 8],
          [7, 2],
          [8, 8],
        ] as const) {
          await rig.ok(IoType.Write, offset, count);
          await rig.ok(IoType.Read, offset, count);
        }
        assert.equal(await rig.client.submit(IoType.Read, numBlocks, 1), Status.Invalid, 'a read past the end');
        await rig.checkRedundancy();
      }),
  },
  {
    id: 'RW-05',
    title: 'what was flushed, and what had forced unit access, survives the loss of every cache',
    clause: 'PlainLevel.submitRw',
    obligations: ['L14', 'L17', 'L07'],
    applies: always,
    run: async (options) => {
      for (const mode of [CutMode.LoseAll, CutMode.Random, CutMode.Prefix]) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.loads(3, 30);
          await rig.flush();
          await rig.load(10);
          await rig.ok(IoType.Write, 3, 9, fua);
          rig.powerCut(mode);
          await rig.assemble();
          await rig.readAll();
          await rig.resynced();
          await rig.readAll();
          await rig.checkRedundancy();
        });
      }
    },
  },
  {
    id: 'RW-06',
    title: 'an acknowledged write is on every member that is not known to be out',
    clause: 'LevelRequest.end',
    obligations: ['L07'],
    applies: ifRedundant,
    run: async (options) => {
      const numSlots = usualSlots(options);
      for (let absent = 0; absent < numSlots; absent++) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.load(20);
          await rig.flush();
          // Slow other members make a premature acknowledgement visible.
          for (const [index, disk] of rig.disks.entries()) if (index !== absent) disk.faults.slowness = 40;
          await rig.ok(IoType.Write, 11, 3, fua);
          rig.stack.die();
          for (const disk of rig.disks) disk.faults.clear();
          rig.powerCut(CutMode.LoseAll);
          // First with all members, so that whatever might be torn is resynced, then without that one.
          await rig.assemble();
          await rig.resynced();
          await rig.stop();
          await rig.assemble([absent]);
          await rig.readAll();
        });
      }
    },
  },
  {
    id: 'RW-07',
    title: 'after a crash in the middle of writes, and a resync, no loss of members changes what is read',
    clause: 'ParityLevel.redundantSlots',
    obligations: ['L17', 'L18', 'L14'],
    applies: ifRedundant,
    run: async (options) => {
      const numSlots = usualSlots(options);
      for (let first = 0; first < numSlots; first++) {
        await inWorld(new Rig(options, { stripSizeKb: 4 }), async (rig) => {
          await rig.create();
          await rig.loads(3, 30);
          await rig.flush();
          const work = rig.crashing(4, 30);
          await rig.world.sleep(rig.random.int(2, 6));
          rig.powerCut(CutMode.Random);
          await work;
          await rig.assemble();
          await rig.resynced();
          await rig.checkRedundancy();
          await rig.readAll();
          await rig.stop();
          await rig.assemble(rig.losable(first));
          await rig.readAll();
        });
      }
    },
  },
  {
    id: 'RW-08',
    title: 'writes at the same time that have one block in common leave one of them there, on every member',
    clause: 'LevelRequest.lock',
    obligations: ['L08'],
    applies: ifRedundant,
    run: (options) =>
      inWorld(new Rig(options, { stripSizeKb: 16 }), async (rig) => {
        await rig.create();
        const { numBlocks } = rig.client;
        const writes: Promise<void>[] = [];
        for (let at = 0; at + 16 < Math.min(numBlocks, 960); at += 16) {
          writes.push(rig.ok(IoType.Write, at, 8), rig.ok(IoType.Write, at + 7, 5));
        }
        await Promise.all(writes);
        await rig.checkRedundancy();
        await rig.readAll();
      }),
  },
  {
    id: 'RW-09',
    title: 'what was read after a crash stays, also when the member it came from is lost before a resync',
    clause: 'ReadRequest.writeBack',
    obligations: ['L14'],
    applies: ifRedundant,
    run: (options) => readInDoubt(options, 0),
  },
  {
    id: 'RW-10',
    title: 'more requests at once than there is memory for all end',
    clause: 'LevelRequest.hold',
    obligations: ['L23', 'L10'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        const places = Math.floor(rig.client.numBlocks / 8);
        const count = Math.min(places, manyRequests);
        await Promise.all(Array.from({ length: count }, (_, index) => rig.ok(IoType.Write, index * 8, 7)));
        await Promise.all(Array.from({ length: count }, (_, index) => rig.ok(IoType.Read, index * 8, 8)));
      }),
  },
  {
    id: 'RW-11',
    title: 'reads whose place routeRead says read what was written, also without a member and past what cannot be read',
    clause: 'PlainLevel.routeRead',
    obligations: ['L25'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options, { dataKib: 200, isRouted: true }), async (rig) => {
        await rig.create();
        // All blocks are written first, because reads of unwritten blocks are not routed.
        const { numBlocks } = rig.client;
        for (let at = 0; at < numBlocks; at += 64) await rig.ok(IoType.Write, at, Math.min(64, numBlocks - at));
        await rig.resynced();
        await rig.readAll();
        for (let at = 0; at < numBlocks; at += 3) await rig.ok(IoType.Read, at, Math.min(1 + (at % 17), numBlocks - at));
        if (options.module.redundancy === 'none') return;
        const lost = rig.losable(1);
        const { faults } = rig.disk(lost[0] ?? 0);
        faults.readErrorRate = 0.5;
        await rig.readAll();
        faults.clear();
        // A member that could not read may have been removed for that.
        for (const slot of lost) if (rig.array.slots[slot]?.isInSync === true) await rig.remove(slot);
        await rig.readAll();
        await rig.loads(3, 30);
        await rig.readAll();
      }),
  },
  {
    id: 'RW-12',
    title: 'what was read after a crash stays, also if one member could not read at that moment',
    clause: 'ReadRequest.writeBack',
    obligations: ['L14'],
    applies: ifRedundant,
    run: (options) => readInDoubt(options, 0.3),
  },
];

/**
 * After a crash and before a resync, reads blocks that were being written twice, with a member lost in between.
 * `readErrorRate`: probability that an early read of one of the members fails.
 */
async function readInDoubt(options: ConformanceOptions, readErrorRate: number): Promise<void> {
  const numSlots = usualSlots(options);
  for (let slot = 0; slot < numSlots; slot++) {
    await inWorld(new Rig(options, { isSlowBackground: true }), async (rig) => {
      await rig.create();
      // Writes all over the volume, since the resync makes its first blocks consistent before they can be read.
      const step = Math.floor(rig.client.numBlocks / 24);
      const places = Array.from({ length: 24 }, (_, index) => index * step);
      for (const at of places) await rig.ok(IoType.Write, at, Math.min(8, step));
      await rig.flush();
      const work = Promise.all(places.map((at) => rig.client.submit(IoType.Write, at, Math.min(8, step))));
      await rig.world.sleep(0.4);
      rig.powerCut(CutMode.Random);
      await work;
      await rig.assemble();
      const readSome = async (): Promise<void> => {
        for (const at of places) {
          if (rig.volume !== null) rig.truth(await rig.io(IoType.Read, at, Math.min(8, step)));
        }
      };
      const { faults } = rig.disk(readErrorRate > 0 ? rig.random.int(0, numSlots - 1) : slot);
      faults.readErrorRate = readErrorRate;
      await readSome();
      faults.clear();
      if (rig.array.slots[slot]?.isInSync === true) await rig.remove(slot);
      await readSome();
    });
  }
}
