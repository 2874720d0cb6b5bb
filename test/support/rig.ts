import { createMallocBdev } from '@raidkit/backend-virtual';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import type { Bdev, Logger } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { concat } from '@raidkit/concat';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { RaidArray } from '../../packages/core/src/array/array.js';
import type { AssemblyOptions, RaidArraysOptions, RaidEvent, RegionLimits, SuperblockStore } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore } from '@raidkit/superblock';

/** Everything that a program which embeds arrays composes, over memory. */
export interface Rig {
  registry: BdevRegistry;
  arrays: RaidArrays;
  events: RaidEvent[];
}

type RigOptions = {
  checksumCacheBytes?: number;
  memoryBytes?: number;
  log?: Logger;
  assembly?: Partial<AssemblyOptions>;
  regions?: Partial<RegionLimits>;
  store?: SuperblockStore;
} & Pick<RaidArraysOptions, 'mayExamine'>;

export function newRig(options: RigOptions = {}): Rig {
  const {
    checksumCacheBytes,
    memoryBytes = 64 << 20,
    log,
    assembly,
    regions = {},
    store = spdkSuperblockStore,
    mayExamine = () => true,
  } = options;
  const registry = new BdevRegistry(nodeRuntime(log === undefined ? { memoryBytes } : { memoryBytes, log }));
  const modules = new RaidModuleRegistry();
  for (const module of [raid0, raid1, raid10, raid5f, raid6, concat]) modules.register(module);
  const arrays = new RaidArrays({
    registry,
    modules,
    store,
    assembly: { absentWaitMs: 20, ...assembly },
    regions,
    mayExamine,
    ...(checksumCacheBytes === undefined ? {} : { checksumCacheBytes }),
  });
  const events: RaidEvent[] = [];
  arrays.on((event) => events.push(event));
  return { registry, arrays, events };
}

export function memberUuid(index: number): string {
  return `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
}

export function mallocMember(rig: Rig, index: number, numBlocks: number, blockSize = 512): Promise<Bdev> {
  return createMallocBdev(rig.registry, { name: `m${index}`, uuid: memberUuid(index), numBlocks, blockSize });
}

export function openVolume(rig: Rig, name: string): BlockClient {
  return new BlockClient(rig.registry.open(name, { writable: true }));
}

/** The whole volume's bytes, in pieces that fit. */
export async function readAll(client: BlockClient): Promise<Uint8Array> {
  return client.read(0, client.numBlocks);
}

/** The array with the interface that only core uses. */
export function arrayOf(rig: Rig, name: string): RaidArray {
  const array = rig.arrays.get(name);
  if (!(array instanceof RaidArray)) throw new Error(`there is no array ${name}`);
  return array;
}

/** Waits, turn by turn, until the condition holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const limit = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`it did not come to pass: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Gives all memory to other users. Call the result to return it. */
export function takeMemory({ registry: { runtime } }: Rig): () => void {
  const taken: number[] = [];
  for (let bytes = 1 << 20; bytes >= 4096; bytes /= 2)
    for (let addr = runtime.memory.allocRegion(bytes); addr >= 0; addr = runtime.memory.allocRegion(bytes)) taken.push(addr);
  return () => {
    for (const addr of taken) runtime.memory.freeRegion(addr);
  };
}
