import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PortableEngine, RingEngine, openLinuxBdev } from '@raidkit/backend-linux';
import { BdevRegistry } from '@raidkit/bdev';
import type { Runtime } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { concat } from '@raidkit/concat';
import { RaidArrays, RaidModuleRegistry } from '@raidkit/core';
import { NbdServer } from '@raidkit/nbd';
import { BufferMemory } from '@raidkit/parity';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { Random } from '@raidkit/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { cmd, flag } from '../packages/nbd/test/client.js';
import type { TestClient } from '../packages/nbd/test/client.js';
import { connectSocket } from '../packages/nbd/test/socket-client.js';
import { CellModel, cellBytes } from './support/cell-model.js';
import { memberUuid, until } from './support/rig.js';

import { VolatileEngine } from './support/volatile-engine.js';

/**
 * The NBD server, the bdev layer, the levels and the backend over files that lose what was not synchronised: power cuts
 * without root, for the engine under test (RAIDKIT_ENGINE=uring has the ring). What was acknowledged with FUA, or before a
 * flush that was acknowledged, is there afterwards.
 */
const levels = [
  { level: 'raid0', members: 2, strip: 16 },
  { level: 'raid1', members: 2, strip: 0 },
  { level: 'raid5f', members: 3, strip: 16 },
  { level: 'concat', members: 2, strip: 16 },
] as const;
type Shape = (typeof levels)[number];

const memberBytes = 4 << 20;
/** What clients write to lies in the first bytes of the volume; cells of it share blocks. */
const testedBytes = 96 << 10;
/** A smaller range, where two clients should often write to the same block. */
const crowdedBytes = 8 << 10;
/** Cuts after which a planted fault counts as not found: many times what each of them takes (1 to 10). */
const patience = 400;
const memoryBytes = 64 << 20;

const reactor = process.env.RAIDKIT_ENGINE === 'uring' && process.env.RAIDKIT_NO_FFI !== '1' ? await startReactor() : null;
afterAll(() => reactor?.stop());

async function startReactor(): Promise<Reactor> {
  const opened = await openReactor({ memoryBytes: 1 << 20 });
  if (opened.reactor === null) throw new Error(opened.reason);
  opened.reactor.start();
  return opened.reactor;
}

/** One life of the machine: the stack over the files, with a server and two clients of one volume, each by an export of its own. */
class Life {
  readonly engine: VolatileEngine;
  readonly registry: BdevRegistry;
  readonly #arrays: RaidArrays;
  readonly #server: NbdServer;
  clients: TestClient[] = [];

  constructor() {
    const runtime: Runtime =
      reactor === null
        ? nodeRuntime({ memoryBytes })
        : { ...reactor.runtime, memory: new BufferMemory({ bytes: memoryBytes }) };
    const inner = reactor === null ? new PortableEngine(runtime) : new RingEngine(runtime, reactor.ring);
    this.engine = new VolatileEngine(inner);
    this.registry = new BdevRegistry(runtime);
    const modules = new RaidModuleRegistry();
    for (const module of [raid0, raid1, raid5f, concat]) modules.register(module);
    this.#arrays = new RaidArrays({
      registry: this.registry,
      modules,
      store: spdkSuperblockStore,
      assembly: { absentWaitMs: 0 },
    });
    this.#server = new NbdServer({ registry: this.registry });
  }

  async start(paths: readonly string[], shape: Shape, isNew: boolean, folder: string): Promise<void> {
    for (const [index, path] of paths.entries()) {
      await openLinuxBdev(this.registry, {
        name: `m${index}`,
        uuid: memberUuid(index),
        path,
        engine: this.engine,
        fallocate: true,
        pollMs: 0,
      });
    }
    if (isNew) {
      const { level, strip } = shape;
      const baseBdevs = paths.map((_, index) => `m${index}`);
      await this.#arrays.create({
        name: 'vol',
        level,
        baseBdevs,
        superblock: true,
        ...(strip === 0 ? {} : { stripSizeKb: strip }),
      });
    }
    await this.registry.waitForExamine();
    await until(() => this.#arrays.get('vol')?.state === 'online', 'the array is online');
    // Two exports of one volume: their clients' writes of parts of one block must not undo each other.
    const names = ['vol', 'again'];
    for (const name of names) this.#server.addExport({ name, bdev: 'vol' });
    const unix = join(folder, `nbd-${fs.readdirSync(folder).length}.sock`);
    await this.#server.listen({ unix });
    for (const name of names) {
      const { client } = await connectSocket({ unix });
      await client.open(name);
      this.clients.push(client);
    }
  }

  /** After a cut: ends what is left, whatever it says. */
  async bury(): Promise<void> {
    this.engine.release();
    await this.#server.close().catch(() => undefined);
    await this.#arrays.stop().catch(() => undefined);
    for (const bdev of this.registry.list())
      if (bdev.state === 'registered') await this.registry.unregister(bdev).catch(() => undefined);
  }
}

/** Each client writes runs of cells, at any byte offset of a cell, some with FUA, and flushes now and then, until it is cut off. */
async function write(client: TestClient, model: CellModel, random: Random, operations: number): Promise<void> {
  const { numCells } = model;
  const longest = Math.min(40, numCells / 4);
  for (let count = 0; count < operations && !client.isEnded; count++) {
    if (random.chance(1 / 8)) {
      const covered = model.completed();
      if ((await client.request(cmd.flush, 0, 0)).errno === 0) model.makeDurable(covered);
      continue;
    }
    const first = random.int(0, numCells - 1);
    const change = model.begin(first, Math.min(random.int(1, longest), numCells - first));
    if (change === null) continue;
    const isForced = random.chance(1 / 4);
    const { errno } = await client.pwrite(first * cellBytes, change.bytes, isForced ? flag.fua : 0);
    expect(errno).toBe(0);
    model.end(change);
    if (isForced) model.makeDurable([change]);
  }
}

/** Cuts the power in the middle of the clients' work; what is left of the files is in new ones. */
async function cut(life: Life, model: CellModel, paths: readonly string[], seed: number): Promise<string[]> {
  const random = new Random(seed);
  const writers = life.clients.map((client, index) =>
    write(client, model, new Random(seed * 7 + index), 1000).catch(() => undefined),
  );
  const enough = model.begun + random.int(40, 100);
  await until(() => model.begun > enough, 'clients are at work');
  await life.engine.cut(() => random.chance(0.5));
  const left = paths.map((path) => `${path}.${seed}`);
  for (const [index, path] of paths.entries()) fs.copyFileSync(path, left[index]!);
  await life.bury();
  await Promise.all(writers);
  return left;
}

/** What each cell of the volume holds, read by a client. */
async function readBack(life: Life, bytes: number): Promise<Buffer> {
  const { data, errno } = await life.clients[0]!.pread(0, bytes);
  expect(errno).toBe(0);
  return Buffer.from(data);
}

/** Cuts the power so many times and returns what is wrong afterwards, the first time something is. */
async function trial(
  shape: Shape,
  cuts: number,
  plant: (life: Life) => void = () => undefined,
  bytes = testedBytes,
): Promise<string | null> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'raidkit-cuts-'));
  try {
    let paths = Array.from({ length: shape.members }, (_, index) => join(folder, `m${index}`));
    for (const path of paths) {
      fs.writeFileSync(path, '');
      fs.truncateSync(path, memberBytes);
    }
    const model = new CellModel(bytes / cellBytes);
    for (let round = 0; ; round++) {
      const life = new Life();
      await life.start(paths, shape, round === 0, folder);
      plant(life);
      const wrong = model.judge(await readBack(life, bytes));
      if (wrong !== null || round === cuts) {
        await life.bury();
        return wrong;
      }
      paths = await cut(life, model, paths, round + 1);
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

describe.each(levels)('$level over files that lose what was not synchronised', (shape) => {
  it('keeps what was acknowledged as durable, cell by cell', async () => {
    expect(await trial(shape, 5)).toBeNull();
  });
});

describe('the trial finds', () => {
  it('a flush that is answered without fdatasync', async () => {
    expect(await trial(levels[1], patience, (life) => (life.engine.isLying = true))).not.toBeNull();
  });

  it('a server that does not lock the block of which a part is written', async () => {
    const plant = ({ registry }: Life): void => {
      const locks = registry.get('vol')!.writeLocks;
      Object.defineProperty(locks, 'acquire', { value: () => true });
      Object.defineProperty(locks, 'release', { value: () => undefined });
    };
    expect(await trial(levels[0], patience, plant, crowdedBytes)).not.toBeNull();
  });

  it('a driver that says it has FUA and does nothing for it', async () => {
    const plant = ({ registry }: Life): void => {
      for (const { name, driver } of registry.list()) {
        if (name !== 'vol') Object.defineProperty(driver, 'hasForceUnitAccess', { value: true });
      }
    };
    expect(await trial(levels[1], patience, plant)).not.toBeNull();
  });
});
