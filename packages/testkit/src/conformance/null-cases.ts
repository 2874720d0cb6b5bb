import { ifNullPayload, ifRedundant } from './case.js';
import type { ConformanceCase } from './case.js';
import { IoType, Rig, inWorld } from './rig.js';

const allTypes = [IoType.Write, IoType.Write, IoType.Read, IoType.WriteZeroes, IoType.Unmap];

/** Cases of unmap and write zeroes. */
export const nullCases: readonly ConformanceCase[] = [
  {
    id: 'NULL-01',
    title: 'write zeroes and unmap, of any range, beside writes: zeros, or for unmap what was there, and never anything else',
    clause: 'PlainLevel.submitNullPayload',
    obligations: ['L20'],
    applies: ifNullPayload,
    run: (options) =>
      inWorld(new Rig(options, { stripSizeKb: 8 }), async (rig) => {
        await rig.create();
        await rig.ok(IoType.Write, 0, 600);
        await rig.ok(IoType.WriteZeroes, 5, 400);
        await rig.ok(IoType.Unmap, 3, 500);
        await rig.loads(4, 50, allTypes);
        await rig.readAll();
        await rig.checkRedundancy();
        await rig.readAll();
      }),
  },
  {
    id: 'NULL-02',
    title: 'what was unmapped, and read, stays what it was read as when its regions have become idle',
    clause: 'UnmapRequest.trimmed',
    obligations: ['L21', 'L20'],
    applies: (module) => ifNullPayload(module) && ifRedundant(module),
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
        await rig.checkRedundancy();
        await rig.remove(0);
        await rig.ok(IoType.Unmap, 0, rig.client.numBlocks);
        await rig.readAll();
        await rig.idle();
        await rig.rebuild(0);
        await rig.readAll();
        await rig.loads(2, 20);
        await rig.readAll();
        await rig.checkRedundancy();
      }),
  },
  {
    id: 'NULL-03',
    title: 'an unmap that ends a few blocks inside a region leaves those blocks alone when the region has become idle',
    clause: 'UnmapRequest.trimmed',
    obligations: ['L21'],
    applies: (module) => ifNullPayload(module) && ifRedundant(module),
    run: (options) =>
      inWorld(new Rig(options, { hasSmallRegions: true }), async (rig) => {
        await rig.create();
        const { bitmap } = rig.array;
        if (bitmap === null) return;
        const { arrayBlocks, memberBlocks } = rig.array.stripe();
        const region = (bitmap.regionBlocks / memberBlocks) * arrayBlocks;
        for (const edge of [1, 2, 4, 8]) {
          if (region * 2 > rig.client.numBlocks || edge * 2 >= region) continue;
          const most = Math.min(region, rig.client.mostBlocks);
          for (let at = 0; at < region * 2; at += most) await rig.ok(IoType.Write, at, Math.min(most, region * 2 - at));
          await rig.ok(IoType.Unmap, edge, region - 2 * edge);
          await rig.ok(IoType.Unmap, region + edge, region - 2 * edge);
          await rig.flush();
          await rig.idle();
          await rig.readAll();
        }
        await rig.checkRedundancy();
      }),
  },
];
