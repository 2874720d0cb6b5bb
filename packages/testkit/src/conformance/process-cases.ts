import assert from 'node:assert/strict';
import { IoType } from '@raidkit/bdev';
import { CutMode } from '../disk-faults.js';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { Rig, arrayName, inWorld, usualSlots } from './rig.js';
import type { ConformanceOptions } from './rig.js';

/** A rig with a spare for each slot; the array has data, and the slot is empty. */
async function eachVacancy(
  options: ConformanceOptions,
  steps: (rig: Rig, slot: number, spare: number) => Promise<void>,
): Promise<void> {
  const numSlots = usualSlots(options);
  for (let slot = 0; slot < numSlots; slot++) {
    await inWorld(new Rig(options, { numSpares: 1 }), async (rig) => {
      await rig.create();
      await rig.load(60);
      await rig.remove(slot);
      await steps(rig, slot, numSlots);
    });
  }
}

/** Reads everything without as many other members as may be missing: what was rebuilt is read, and worked with. */
async function readWithoutOthers(rig: Rig, member: number): Promise<void> {
  await rig.checkRedundancy();
  const slot = rig.array.slots.findIndex(({ name }) => name === rig.disk(member).name);
  for (const other of rig.losableBeside(slot)) {
    const index = rig.disks.findIndex(({ name }) => name === rig.array.slots[other]?.name);
    if (index >= 0) await rig.remove(index);
  }
  await rig.readAll();
}

/** Writes single blocks around both ends of the window that is being worked on, until there is none. */
async function writeAtEdges(rig: Rig): Promise<void> {
  const { numBlocks } = rig.client;
  await rig.until('the process begins', () => rig.array.process !== null);
  while (rig.array.process !== null) {
    const { offsetBlocks, windowBlocks } = rig.array.process;
    const edge = offsetBlocks + rig.random.pick([0, windowBlocks, 2 * windowBlocks]);
    await rig.ok(IoType.Write, Math.min(Math.max(edge - rig.random.pick([0, 1]), 0), numBlocks - 1), 1);
  }
}

/** Rebuilds, growth, the end. */
export const processCases: readonly ConformanceCase[] = [
  {
    id: 'PROC-01',
    title: 'a new member in any slot is filled with what it must hold',
    clause: 'RedundantLevel.submitProcessRequest',
    obligations: ['L18', 'L17'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, _slot, spare) => {
        await rig.rebuild(spare);
        await readWithoutOthers(rig, spare);
      }),
  },
  {
    id: 'PROC-02',
    title: 'so it is with users at work',
    clause: 'LevelRequest.hasMember',
    obligations: ['L09', 'L18', 'L07'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, _slot, spare) => {
        const work = rig.loads(4, 80);
        await rig.rebuild(spare);
        await work;
        await readWithoutOthers(rig, spare);
      }),
  },
  {
    id: 'PROC-03',
    title: 'a target that is taken out leaves the array as it was',
    clause: 'RedundantLevel.submitProcessRequest',
    obligations: ['L18', 'L09'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, _slot, spare) => {
        const work = rig.loads(2, 40);
        await rig.stack.arrays.addBaseBdev(arrayName, rig.disk(spare).name);
        await rig.world.sleep(3);
        await rig.remove(spare);
        await work;
        await rig.readAll();
        assert(!rig.isCurrent(spare));
        await rig.rebuild(spare);
        await readWithoutOthers(rig, spare);
      }),
  },
  {
    id: 'PROC-04',
    title: 'a target that fails leaves the array as it was',
    clause: 'LevelRequest.end',
    obligations: ['L09', 'L10'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, _slot, spare) => {
        rig.disk(spare).faults.writeErrorRate = 0.05;
        await rig.stack.arrays.addBaseBdev(arrayName, rig.disk(spare).name);
        await rig.loads(3, 60);
        await rig.array.processEnded;
        await rig.readAll();
      }),
  },
  {
    id: 'PROC-05',
    title: 'a power cut in the middle of a rebuild loses nothing',
    clause: 'RedundantLevel.submitProcessRequest',
    obligations: ['L18', 'L19'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, slot, spare) => {
        // Idle long enough for every region to be known to agree, so that the array may start degraded.
        await rig.flush();
        await rig.world.sleep(60_000);
        await rig.stack.arrays.addBaseBdev(arrayName, rig.disk(spare).name);
        await rig.world.sleep(rig.random.int(1, 12));
        rig.powerCut(CutMode.Random);
        await rig.assemble([slot, spare]);
        await rig.readAll();
        await rig.stack.plugIn(rig.disk(spare));
        if (rig.array.process === null && !rig.isCurrent(spare)) {
          await rig.array.processEnded;
          if (!rig.isCurrent(spare)) await rig.rebuild(spare);
        }
        await rig.rebuilt(spare);
        await readWithoutOthers(rig, spare);
      }),
  },
  {
    id: 'PROC-06',
    title: 'users who write at the edges of what is being rebuilt lose nothing',
    clause: 'RedundantLevel.submitProcessRequest',
    obligations: ['L09', 'L18', 'L08'],
    applies: ifRedundant,
    run: (options) =>
      eachVacancy(options, async (rig, _slot, spare) => {
        await rig.stack.arrays.addBaseBdev(arrayName, rig.disk(spare).name);
        await Promise.all([0, 1, 2, 3].map(() => writeAtEdges(rig)));
        await rig.rebuilt(spare);
        await readWithoutOthers(rig, spare);
      }),
  },
  {
    id: 'SIZE-01',
    title: 'when every member grows, the volume grows, and keeps its contents',
    clause: 'PlainLevel.resize',
    obligations: ['L05', 'L04'],
    applies: ({ manifest }) => manifest.resize,
    run: (options) =>
      inWorld(new Rig(options, { dataKib: 512 }), async (rig) => {
        await rig.create();
        const before = rig.client.numBlocks;
        await rig.load(60);
        for (const disk of rig.disks) {
          disk.grow(disk.numBlocks + 1024);
          rig.stack.bdevOf(disk)?.resize(disk.numBlocks);
        }
        await rig.until('the volume is larger', () => rig.client.numBlocks > before);
        await rig.array.resizing;
        await rig.readAll();
        await rig.loads(3, 60);
        await rig.readAll();
        await rig.checkRedundancy();
        await rig.stop();
        await rig.assemble();
        assert(rig.client.numBlocks > before, 'the new size does not last');
        await rig.readAll();
      }),
  },
  {
    id: 'STOP-01',
    title: 'a stop under load answers everything and gives the members back',
    clause: 'PlainLevel.stop',
    obligations: ['L10', 'L22'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.load(20);
        const work = Promise.all(Array.from({ length: 12 }, (_, index) => rig.client.submit(1, index * 5, 9)));
        await rig.stop();
        await work;
        for (const disk of rig.disks) assert.equal(rig.stack.bdevOf(disk)?.claimedBy, null, `${disk.name} is still claimed`);
        await rig.assemble();
        await rig.readAll();
      }),
  },
  {
    id: 'LEAK-01',
    title: 'creating and deleting leaves nothing behind',
    clause: 'PlainLevel.stop',
    obligations: ['L22'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        await rig.load(20);
        await rig.stack.arrays.delete(arrayName, { clearSuperblock: true });
        const free = rig.memory.freeBytes;
        for (let round = 0; round < 20; round++) {
          await rig.stack.arrays.create({
            name: arrayName,
            level: options.module.level,
            baseBdevs: rig.disks.map(({ name }) => name),
            superblock: true,
            options: rig.levelOptions,
            ...(options.module.manifest.stripSize === 'required' ? { stripSizeKb: 4 } : {}),
          });
          await rig.stack.arrays.delete(arrayName, { clearSuperblock: true });
        }
        assert.equal(rig.memory.freeBytes, free, 'buffer memory is not given back');
        assert.equal(rig.stack.registry.ios.outstanding, 0, 'I/O objects are out');
        assert.equal(rig.stack.arrays.iosOutstanding, 0, 'RAID I/O objects are out');
      }),
  },
];
