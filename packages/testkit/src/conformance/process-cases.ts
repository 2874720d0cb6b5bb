import assert from 'node:assert/strict';
import { IoType } from '@raidkit/bdev';
import { CutMode } from '../disk-faults.js';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { Rig, arrayName, inWorld, usualSlots } from './rig.js';
import { canGetCopies, losable, slotsOfTwoGroups } from '../slots.js';
import type { ConformanceOptions } from './rig.js';

/** Runs the steps once per slot, on a rig with a spare whose array has data and lacks that slot's member. */
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

/**
 * Reads everything while as many other members as possible are missing, so that the rebuilt member is read and used for
 * reconstruction.
 */
async function readWithoutOthers(rig: Rig, member: number): Promise<void> {
  await rig.checkRedundancy();
  const slot = rig.array.slots.findIndex(({ name }) => name === rig.disk(member).name);
  for (const other of rig.losableBeside(slot)) {
    const index = rig.disks.findIndex(({ name }) => name === rig.array.slots[other]?.name);
    if (index >= 0) await rig.remove(index);
  }
  await rig.readAll();
}

/**
 * Starts the array again without as many members as may be missing, counted from different slots: what is left must have all
 * data.
 */
async function readWithout(rig: Rig): Promise<void> {
  const { module, options, slots } = rig.array;
  const bySlot = slots.map(({ name }) => rig.disks.findIndex((disk) => disk.name === name));
  for (const first of [0, slots.length - 1]) {
    await rig.stop();
    await rig.assemble(losable(module, bySlot.length, first, options).map((slot) => bySlot[slot] ?? -1));
    await rig.readAll();
    await rig.stop();
    await rig.assemble();
    await rig.until('all members are back', () => rig.array.numInSync === bySlot.length && rig.array.process === null);
    await rig.array.processEnded;
  }
  await rig.checkRedundancy();
}

const layoutOf = ({ array }: Rig): unknown => ({
  slots: array.slots.map(({ isInSync, name }) => [name, isInSync]),
  geometry: array.currentGeometry,
});

/** Writes single blocks around both ends of the process window, until the process ends. */
async function writeAtEdges(rig: Rig): Promise<void> {
  const { numBlocks } = rig.client;
  await rig.until('the process begins', () => rig.array.process !== null);
  while (rig.array.process !== null) {
    const { offsetBlocks, windowBlocks } = rig.array.process;
    const edge = offsetBlocks + rig.random.pick([0, windowBlocks, 2 * windowBlocks]);
    await rig.ok(IoType.Write, Math.min(Math.max(edge - rig.random.pick([0, 1]), 0), numBlocks - 1), 1);
  }
}

/** Cases of rebuilds, growth and stopping. */
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
        // Idle until every region counts as in sync, so that the array may start degraded.
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
    id: 'SLOT-01',
    title: 'further copies come, hold what the others hold, and go, and nothing else moves',
    clause: 'ModuleBase.addedSlot',
    obligations: ['L27', 'L17', 'L07'],
    applies: ({ addedSlot }) => addedSlot === 'copy',
    run: (options) =>
      inWorld(
        new Rig(options, { numSpares: 2, numSlots: slotsOfTwoGroups(options.module, options.levelOptions) }),
        async (rig) => {
          await rig.create();
          const { numBlocks } = rig.client;
          await rig.load(60);
          const canHave = canGetCopies(options.module, rig.numSlots, options.levelOptions);
          for (const spare of [rig.numSlots, rig.numSlots + 1]) {
            const before = layoutOf(rig);
            const growing = rig.stack.arrays.growBaseBdev(arrayName, rig.disk(spare).name);
            if (!canHave) {
              await assert.rejects(growing, (error: Error & { code?: string }) => error.code === 'ERR_RAID_INVALID');
              assert.deepEqual(layoutOf(rig), before, 'a copy that was refused has changed something');
              continue;
            }
            await growing;
            const work = rig.loads(4, 60);
            await rig.rebuilt(spare);
            await work;
            await rig.checkRedundancy();
            await rig.readAll();
            assert.equal(rig.client.numBlocks, numBlocks, 'the volume has another size with one more copy');
          }
          if (canHave) await readWithout(rig);
          for (let gone = 0; canHave && gone < 2; gone++) {
            const { numSlots } = rig.array;
            // Removes slots from the first one on: those behind it move up, or the last one takes its place.
            for (let slot = 0; slot < numSlots && rig.array.numSlots === numSlots; slot++) {
              const work = rig.loads(3, 20);
              await rig.stack.arrays.removeSlot(arrayName, slot).catch((error: unknown) => {
                assert((error as { code?: string }).code === 'ERR_RAID_INVALID', String(error));
                assert.equal(rig.array.numInSync, numSlots, 'a slot that was refused has lost its member');
              });
              await work;
            }
            assert.equal(rig.array.numSlots, numSlots - 1, 'no slot can go, and one has come');
            await rig.checkRedundancy();
            await rig.readAll();
            await rig.loads(3, 30);
          }
          await readWithout(rig);
        },
      ),
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
