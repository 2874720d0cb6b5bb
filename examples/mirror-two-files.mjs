// A mirror over two files. The first run creates it; later runs assemble it from the superblocks on the files.
//   node examples/mirror-two-files.mjs a.img b.img
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { openLinuxBdev } from '@raidkit/backend-linux';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid1 } from '@raidkit/raid1';
import { spdkSuperblockStore } from '@raidkit/superblock';

const paths = process.argv.slice(2);
const isNew = paths.every((path) => !existsSync(path));
for (const path of isNew ? paths : []) {
  writeFileSync(path, '');
  truncateSync(path, 64 << 20);
}

const registry = new BdevRegistry(nodeRuntime());
const modules = new RaidModuleRegistry();
modules.register(raid1);
const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore });
for (const [index, path] of paths.entries()) await openLinuxBdev(registry, { name: `disk${index}`, path });
await registry.waitForExamine();
if (isNew) {
  const baseBdevs = paths.map((_, index) => `disk${index}`);
  await arrays.create({ name: 'mirror', level: 'raid1', baseBdevs, superblock: true });
}

const volume = new BlockClient(registry.open('mirror', { writable: true }));
const count = Buffer.from(await volume.read(0, 1)).readUInt32LE(0) + 1;
const block = Buffer.alloc(volume.blockSize);
block.writeUInt32LE(count);
await volume.write(0, block);
await volume.flush();
console.log(`run ${count} over ${volume.numBlocks} blocks of ${volume.blockSize} bytes`);
volume.descriptor.close();
await arrays.stop();
for (const bdev of registry.list()) await registry.unregister(bdev);
