// Copies the volume of an array out of images of its members, which SPDK or raidkit has written. The images are opened read-only.
//   node examples/copy-out-read-only.mjs OUTPUT IMAGE=UUID …
// A file does not say which member it is an image of: each is given its member's uuid (`raidctl examine` lists them).
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { openLinuxBdev } from '@raidkit/backend-linux';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { concat } from '@raidkit/concat';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { parseSuperblock, spdkSuperblockStore } from '@raidkit/superblock';

const [output, ...images] = process.argv.slice(2);
const registry = new BdevRegistry(nodeRuntime());
const modules = new RaidModuleRegistry();
for (const module of [raid0, raid1, raid5f, concat]) modules.register(module);
const assembly = { start: 'readOnly', degradedStartMs: 1000 };
const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore, assembly });
for (const [index, image] of images.entries()) {
  const [path, uuid] = image.split('=');
  const file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(16_896), 0, 16_896, 0);
  await file.close();
  const parsed = parseSuperblock(buffer);
  if (!parsed.ok) throw new Error(`${path}: ${parsed.message}`);
  const { blockSize } = parsed.superblock;
  await openLinuxBdev(registry, { name: `image${index}`, path, uuid, blockSize, readOnly: true });
}
await registry.waitForExamine();
const [array] = arrays.list();
if (!array?.bdev) throw new Error('the images make no array that can be started');

const volume = new BlockClient(registry.open(array.bdev));
const file = createWriteStream(output);
for (let block = 0; block < volume.numBlocks;) {
  const count = Math.min(2048, volume.numBlocks - block);
  if (!file.write(await volume.read(block, count))) await once(file, 'drain');
  block += count;
}
file.end();
await once(file, 'finish');
console.log(`${array.name}: ${volume.numBlocks * volume.blockSize} bytes`);
volume.descriptor.close();
await arrays.stop();
for (const bdev of registry.list()) await registry.unregister(bdev);
