import { setTimeout as sleep } from 'node:timers/promises';
import { createNullBdev } from '@raidkit/backend-virtual';
import { BdevRegistry } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, IoOwner, IoType, Runtime } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { concat } from '@raidkit/concat';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { MiB } from './files.js';

const blockBytes = 4096;
const memberBlocks = 65_536;

/** Devices in this thread whose deferred work is done when the benchmark says so, as a reactor does. */
export class NullArrays {
  readonly registry: BdevRegistry;
  readonly #arrays: RaidArrays;
  #soon: (() => void)[] = [];
  #running: (() => void)[] = [];
  #isManual = false;
  #now = 0;
  #made = 0;

  constructor() {
    const node = nodeRuntime({ memoryBytes: 256 * MiB });
    const runtime: Runtime = {
      ...node,
      // The clock is read once a batch, as in a reactor.
      now: () => (this.#isManual ? this.#now : node.now()),
      soon: (fn) => {
        if (this.#isManual) this.#soon.push(fn);
        else node.soon(fn);
      },
    };
    this.registry = new BdevRegistry(runtime);
    const modules = new RaidModuleRegistry();
    for (const module of [raid0, raid1, raid5f, raid6, concat]) modules.register(module);
    this.#arrays = new RaidArrays({ registry: this.registry, modules, store: spdkSuperblockStore });
  }

  /** A null device without an array. */
  async device(): Promise<BdevDescriptor> {
    return this.registry.open(await this.#null(), { writable: true });
  }

  /** An array over null devices. */
  async array(level: string, members: number): Promise<BdevDescriptor> {
    const name = `array${this.#made++}`;
    const bdevs = await Promise.all(Array.from({ length: members }, () => this.#null()));
    const strip = level === 'raid1' ? {} : { stripSizeKb: 64 };
    await this.#arrays.create({ name, level, baseBdevs: bdevs.map((bdev) => bdev.name), ...strip });
    // The wait is for a first resync, which locks ranges.
    while (this.#arrays.get(name)?.process !== null) await sleep(5);
    return this.registry.open(name, { writable: true });
  }

  /** Nanoseconds of CPU time per I/O, with 32 of them in flight. */
  async nanosecondsPerIo(descriptor: BdevDescriptor, type: IoType, numBlocks: number, count: number): Promise<number> {
    // Work that was deferred before is not measured.
    await sleep(5);
    const { ios, buffers } = this.registry;
    const depth = 32;
    const units = Math.floor(descriptor.bdev.numBlocks / numBlocks);
    let started = 0;
    let inFlight = 0;
    let seed = 1;
    const submit = (io: BdevIo): void => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      io.offsetBlocks = (seed % units) * numBlocks;
      started++;
      inFlight++;
      descriptor.submit(io);
    };
    const owner: IoOwner = {
      onIoDone(io) {
        if (io.status !== 0) throw new Error(`an I/O ended with ${io.status}`);
        inFlight--;
        if (started < count) submit(io);
        else {
          buffers.put(io.addr);
          ios.put(io);
        }
      },
    };
    this.#isManual = true;
    this.#now = performance.now();
    const before = process.cpuUsage();
    for (let i = 0; i < depth; i++) {
      const io = ios.get();
      io.type = type;
      io.numBlocks = numBlocks;
      io.addr = buffers.get(numBlocks * blockBytes);
      io.owner = owner;
      submit(io);
    }
    while (inFlight > 0) this.#turn();
    const { user, system } = process.cpuUsage(before);
    this.#isManual = false;
    return ((user + system) * 1000) / count;
  }

  #turn(): void {
    this.#now = performance.now();
    const batch = this.#soon;
    if (batch.length === 0) throw new Error('I/O is in flight, and nothing is about to be done');
    this.#soon = this.#running;
    this.#running = batch;
    for (const fn of batch) fn();
    while (batch.length > 0) batch.pop();
  }

  #null(): ReturnType<typeof createNullBdev> {
    return createNullBdev(this.registry, { blockSize: blockBytes, numBlocks: memberBlocks });
  }
}
