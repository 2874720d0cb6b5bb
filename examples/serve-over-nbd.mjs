// A stripe over memory, served over NBD until the program is interrupted.
//   node examples/serve-over-nbd.mjs /tmp/example.sock
import { createMallocBdev } from '@raidkit/backend-virtual';
import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { NbdServer } from '@raidkit/nbd';
import { raid0 } from '@raidkit/raid0';

const registry = new BdevRegistry(nodeRuntime());
const modules = new RaidModuleRegistry();
modules.register(raid0);
const arrays = new RaidArrays({ registry, modules, store: null });
for (const name of ['m0', 'm1']) await createMallocBdev(registry, { name, numBlocks: 8192, blockSize: 4096 });
await arrays.create({ name: 'stripe', level: 'raid0', baseBdevs: ['m0', 'm1'], stripSizeKb: 64 });

const server = new NbdServer({ registry });
server.addExport({ name: 'stripe', bdev: 'stripe' });
const listener = await server.listen({ unix: process.argv[2] });
console.log(listener.uri('stripe'));

process.once('SIGINT', async () => {
  await server.close();
  await arrays.stop();
  console.log('stopped');
});
