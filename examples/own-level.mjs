// A RAID level of your own in one file: strips of eight blocks go to the members in turn.
//   node examples/own-level.mjs
import { createMallocBdev } from '@raidkit/backend-virtual';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raidApiVersion } from '@raidkit/core/level';

const stripBlocks = 8;

/** @implements {import('@raidkit/core/level').PlainLevel} */
class Dealt {
  /** @param {import('@raidkit/core/level').LevelContext} context */
  constructor(context) {
    this.context = context;
  }

  /** @param {readonly number[]} capacities */
  resize(capacities) {
    const memberBlocks = Math.floor(Math.min(...capacities) / stripBlocks) * stripBlocks;
    return {
      numBlocks: memberBlocks * capacities.length,
      memberBlocks: capacities.map(() => memberBlocks),
      // No request crosses a strip: each has one part.
      optimalIoBoundary: stripBlocks,
      splitOnBoundary: true,
    };
  }

  /** @param {import('@raidkit/core/level').RwRequest} request */
  submitRw(request) {
    const { offsetBlocks, numBlocks, addr } = request;
    const strip = Math.floor(offsetBlocks / stripBlocks);
    const slot = strip % this.context.numSlots;
    const offset = Math.floor(strip / this.context.numSlots) * stripBlocks + (offsetBlocks % stripBlocks);
    if (request.kind === 'read') request.readPart(slot, offset, numBlocks, addr);
    else request.writePart(slot, offset, numBlocks, addr);
  }
}

/** @type {import('@raidkit/core/level').PlainModule} */
const dealt = {
  level: 'acme-dealt',
  aliases: [],
  code: 0x1acf,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: false, resize: true },
  redundancy: 'none',
  baseBdevsMin: 2,
  start: (context) => new Dealt(context),
};

const registry = new BdevRegistry(nodeRuntime());
const modules = new RaidModuleRegistry();
modules.register(dealt);
const arrays = new RaidArrays({ registry, modules, store: null });
for (const name of ['a', 'b', 'c']) await createMallocBdev(registry, { name, numBlocks: 1024, blockSize: 512 });
await arrays.create({ name: 'volume', level: 'acme-dealt', baseBdevs: ['a', 'b', 'c'] });

const volume = new BlockClient(registry.open('volume', { writable: true }));
const written = Buffer.from(Array.from({ length: volume.numBlocks * 512 }, (_, at) => (at / 512) % 251));
await volume.write(0, written);
const read = Buffer.from(await volume.read(0, volume.numBlocks));
console.log(`${volume.numBlocks} blocks over three members: ${read.equals(written) ? 'the same' : 'something else'}`);
volume.descriptor.close();
await arrays.stop();
