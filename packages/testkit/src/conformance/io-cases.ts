import assert from 'node:assert/strict';
import { CutMode } from '../disk-faults.js';
import { acceptedSlots } from '../slots.js';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { IoType, Rig, Status, inWorld } from './rig.js';

const fua = 1;
const allTypes = [IoType.Write, IoType.Write, IoType.Read, IoType.WriteZeroes, IoType.Unmap];

/** Reads and writes of an array that has all its members. */
export const ioCases: readonly ConformanceCase[] = [
  {
    id: 'RW-01',
    title: 'every block of the volume has a place of its own',
    clause: 'PlainLevel.submitRw',
    applies: always,
    run: (options) =>
      inWorld(
        new Rig(options, {
          dataKib: [64, 96, 80, 64],
          numSlots: acceptedSlots(options.module, options.module.baseBdevsMin + 1, options.levelOptions),
        }),
        async (rig) => {
          await rig.create();
          for (let block = 0; block < rig.client.numBlocks; block++) await rig.ok(IoType.Write, block, 1);
          await rig.readAll();
          rig.checkRedundancy();
        },
      ),
  },
  {
    id: 'RW-02',
    title: 'requests of any size and place read what was written',
    clause: 'PlainLevel.submitRw',
    applies: always,
    run: async (options) => {
      for (const blockSize of [512, 4096]) {
        await inWorld(new Rig(options, { blockSize, stripSizeKb: 8 }), async (rig) => {
          await rig.create();
          await rig.load(150);
          await rig.readAll();
          rig.checkRedundancy();
        });
      }
    },
  },
  {
    id: 'RW-03',
    title: 'requests side by side, overlapping, leave one order of writes behind, on every member',
    clause: 'PlainLevel.submitRw',
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.loads(6, 60);
        await rig.readAll();
        rig.checkRedundancy();
        await rig.readAll();
      }),
  },
  {
    id: 'RW-04',
    title: 'the first and the last blocks, alone and with their neighbours',
    clause: 'RaidGeometry.numBlocks',
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
        rig.checkRedundancy();
      }),
  },
  {
    id: 'RW-05',
    title: 'what was flushed, and what had forced unit access, survives the loss of every cache',
    clause: 'PlainLevel.submitRw',
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
          rig.checkRedundancy();
        });
      }
    },
  },
  {
    id: 'RW-06',
    title: 'an acknowledged write is on every member that is not known to be out',
    clause: 'LevelRequest.end',
    applies: ifRedundant,
    run: async (options) => {
      const { numSlots } = new Rig(options);
      for (let absent = 0; absent < numSlots; absent++) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.load(20);
          await rig.flush();
          // The slower the others, the further ahead of them an early acknowledgement is.
          for (const [index, disk] of rig.disks.entries()) if (index !== absent) disk.faults.slowness = 40;
          await rig.ok(IoType.Write, 11, 3, fua);
          rig.stack.die();
          for (const disk of rig.disks) disk.faults.clear();
          rig.powerCut(CutMode.LoseAll);
          // All members, so that whatever cannot be told from a torn write is made to agree; then without that one.
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
    id: 'NULL-01',
    title: 'write zeroes and unmap, of any range, beside writes: zeros, or for unmap what was there, and never anything else',
    clause: 'PlainLevel.submitNullPayload',
    applies: ({ manifest }) => manifest.nullPayload,
    run: (options) =>
      inWorld(new Rig(options, { stripSizeKb: 8 }), async (rig) => {
        await rig.create();
        await rig.ok(IoType.Write, 0, 600);
        await rig.ok(IoType.WriteZeroes, 5, 400);
        await rig.ok(IoType.Unmap, 3, 500);
        await rig.loads(4, 50, allTypes);
        await rig.readAll();
        rig.checkRedundancy();
        await rig.readAll();
      }),
  },
  {
    id: 'NULL-02',
    title: 'what was unmapped, and read, stays what it was read as when its regions have become idle',
    clause: 'UnmapRequest.trimmed',
    applies: (module) => module.manifest.nullPayload && ifRedundant(module),
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.loads(2, 20);
        await rig.ok(IoType.Unmap, 0, rig.client.numBlocks);
        await rig.readAll();
        await rig.idle();
        await rig.readAll();
        await rig.loads(2, 20, allTypes);
        await rig.readAll();
        rig.checkRedundancy();
        await rig.remove(0);
        await rig.ok(IoType.Unmap, 0, rig.client.numBlocks);
        await rig.readAll();
        await rig.idle();
        await rig.rebuild(0);
        await rig.readAll();
        await rig.loads(2, 20);
        await rig.readAll();
        rig.checkRedundancy();
      }),
  },
];
