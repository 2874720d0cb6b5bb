// A member fails, a spare takes its place, and the program waits for the rebuild; what happens is printed.
//   node examples/watch-events.mjs
import { createMallocBdev } from '@raidkit/backend-virtual';
import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore } from '@raidkit/superblock';

const registry = new BdevRegistry(nodeRuntime());
const modules = new RaidModuleRegistry();
modules.register(raid5f);
// How long a member that disappears may be absent before a spare replaces it.
const members = { graceMs: 1000 };
const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore, members });
const rebuilt = new Promise((resolve) => {
  arrays.on((event) => {
    console.log(JSON.stringify(event));
    if (event.type === 'processFinished') resolve(event.error);
  });
});
for (const name of ['a', 'b', 'c', 'spare']) await createMallocBdev(registry, { name, numBlocks: 65_536, blockSize: 512 });
await arrays.create({ name: 'volume', level: 'raid5f', baseBdevs: ['a', 'b', 'c'], stripSizeKb: 64, superblock: true });
await arrays.addSpare('spare');
await registry.unregister(registry.get('b'));
await rebuilt;
console.log('the spare is a member');
await arrays.stop();
