import assert from 'node:assert/strict';
import type { RaidLevel, RaidModule, RedundantContext } from '@raidkit/core';
import { always, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { withChanged } from '../level-tap/tap.js';
import { acceptedSlots, leastSlots } from '../slots.js';
import { Rig, arrayName, inWorld, usualSlots } from './rig.js';

/** Cases of starting, sizes, and the manifest's declarations. */
export const startCases: readonly ConformanceCase[] = [
  {
    id: 'START-01',
    title: 'an array of the fewest members comes up, and is no larger than they are',
    clause: 'RaidModule.start',
    obligations: ['L01', 'L04'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options, { numSlots: acceptedSlots(options.module, 1, options.levelOptions) }), async (rig) => {
        await rig.create();
        const { numBlocks } = rig.client;
        const room = rig.array.slots.reduce((sum, slot) => sum + slot.capacity, 0);
        assert(numBlocks >= 1 && numBlocks <= room, `${numBlocks} blocks from members with room for ${room}`);
        await rig.readAll();
      }),
  },
  {
    id: 'START-02',
    title: 'fewer members than the fewest are refused',
    clause: 'RaidModule.baseBdevsMin',
    obligations: ['L01'],
    applies: ({ baseBdevsMin }) => baseBdevsMin > 1,
    run: (options) =>
      inWorld(new Rig(options, { numSlots: options.module.baseBdevsMin - 1 }), async (rig) => {
        await assert.rejects(rig.create(), (error: Error & { code?: string }) => error.code === 'ERR_RAID_INVALID');
      }),
  },
  {
    id: 'START-03',
    title: 'the geometry has an entry for each slot, inside its member',
    clause: 'RaidGeometry.memberBlocks',
    obligations: ['L04'],
    applies: always,
    run: (options) =>
      inWorld(
        new Rig(options, {
          numSlots: acceptedSlots(options.module, leastSlots(options.module) + 1, options.levelOptions),
          dataKib: [1200, 1100, 1300, 1250],
        }),
        async (rig) => {
          await rig.create();
          const { memberBlocks, numBlocks } = rig.geometry;
          assert.equal(memberBlocks.length, rig.numSlots);
          memberBlocks.forEach((blocks, slot) => {
            assert(blocks >= 0 && blocks <= (rig.array.slots[slot]?.dataSize ?? 0), `slot ${slot} uses ${blocks} blocks`);
          });
          assert.equal(numBlocks, rig.client.numBlocks);
        },
      ),
  },
  {
    id: 'START-04',
    title: 'an array that is stopped and assembled again has the same size and contents',
    clause: 'RaidModule.start',
    obligations: ['L04', 'L06', 'L07'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        const { numBlocks } = rig.client;
        await rig.load(40);
        await rig.stop();
        await rig.assemble();
        assert.equal(rig.client.numBlocks, numBlocks);
        await rig.readAll();
      }),
  },
  {
    id: 'START-05',
    title: 'the level has the methods that its module claims',
    clause: 'RaidModule',
    obligations: ['L03', 'L17'],
    applies: always,
    run: (options) =>
      inWorld(new Rig(options), async (rig) => {
        await rig.create();
        const { manifest, redundancy } = options.module;
        const { level } = rig.array;
        assert(level !== null);
        if (manifest.nullPayload) assert.equal(typeof level.submitNullPayload, 'function', 'nullPayload: submitNullPayload');
        if (redundancy === 'none') return;
        assert.equal(typeof level.submitProcessRequest, 'function', 'redundant: submitProcessRequest');
        const ways = [level.copyGroups, level.copySets, level.redundantSlots].filter((way) => way !== undefined);
        assert.equal(ways.length, 1, 'redundant: one of copyGroups, copySets and redundantSlots');
        assert(rig.geometry.stripe !== undefined, 'redundant: geometry.stripe');
      }),
  },
  {
    id: 'START-06',
    title: 'an array starts without as many members as it may lose, and not without one more',
    clause: 'RaidModule.maxMissing',
    obligations: ['L02', 'L18'],
    applies: ifRedundant,
    run: async (options) => {
      const numSlots = usualSlots(options);
      for (let first = 0; first < numSlots; first++) {
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.load(30);
          await rig.stop();
          await rig.assemble(rig.losable(first));
          await rig.readAll();
          await rig.load(20);
          await rig.stop();
        });
        await inWorld(new Rig(options), async (rig) => {
          await rig.create();
          await rig.stop();
          const absent = rig.losable(first);
          const more = Array.from({ length: numSlots }, (_, step) => (first + step) % numSlots).find(
            (slot) => !absent.includes(slot),
          );
          if (more === undefined || absent.length + 1 === numSlots) return;
          absent.push(more);
          await assert.rejects(
            rig.assemble(absent),
            (error: Error & { code?: string }) => error.code === 'ERR_RAID_TOO_FEW_MEMBERS',
          );
          assert.equal(rig.stack.arrays.get(arrayName)?.numInSync, numSlots - absent.length);
        });
      }
    },
  },
  {
    id: 'START-07',
    title: 'the level takes no more memory at its start than its module states',
    clause: 'RaidModule.memoryBytes',
    obligations: ['L26'],
    applies: always,
    async run(options) {
      const { module } = options;
      const numSlots = usualSlots(options);
      for (const slots of [numSlots, acceptedSlots(module, numSlots + 3, options.levelOptions)]) {
        let isAsked = false;
        const start = (context: RedundantContext): RaidLevel => {
          const before = context.memory.freeBytes;
          const level: RaidLevel = module.start(context);
          const stated = module.memoryBytes?.(context) ?? 0;
          const taken = before - context.memory.freeBytes;
          assert(taken <= stated, `with ${slots} slots start took ${taken} bytes, and memoryBytes says ${stated}`);
          isAsked = true;
          return level;
        };
        const measured = withChanged<RaidModule>(module, { start });
        await inWorld(new Rig({ ...options, module: measured }, { numSlots: slots }), async (rig) => {
          await rig.create();
          await rig.load(10);
        });
        assert(isAsked);
      }
    },
  },
];
