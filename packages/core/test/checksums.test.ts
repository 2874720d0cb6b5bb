import { BdevRegistry, IoType, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo } from '@raidkit/bdev';
import { BLOCK_SUM_KEY_BYTES, BufferMemory, makeBlockSumKey } from '@raidkit/parity';
import { checksumPages } from '../../superblock/src/checksum-page.js';
import { CutMode, Random, SimDisk, World } from '@raidkit/testkit';
import type { Life } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { divideRoom, pagesFor } from '../src/checksums/area.js';
import { EdgeBuffers } from '../src/checksums/edge-buffers.js';
import { MemberSums } from '../src/checksums/member-sums.js';
import { PageCache } from '../src/checksums/page-cache.js';

/** What has a sum. A device's blocks may be smaller. */
const summedBytes = 4096;
const summedOffset = 256;
/** The device has a little more than three pages of checksums. */
const numSummed = 1500;
/** The size of a region makes records and pages cross the ends of regions. */
const regionSummed = 100;
const numRegions = numSummed / regionSummed;
const perPage = checksumPages.recordsPerPage * checksumPages.sumsPerRecord;
const member = {
  uuid: '5d190000-0000-4000-8000-0000000000ff',
  memberUuid: '5d190000-0000-4000-8000-000000000001',
  incarnation: '0123456789abcdef',
};

/** As the write-intent bitmap has it on stable media, and `doubtful`: dirty since before the start. */
type State = 'unwritten' | 'clean' | 'dirty' | 'doubtful';

interface Written {
  version: number;
  isDone: boolean;
}

/** All versions of a block that are known at a time, and those that it may hold then. */
interface Possible {
  known: Written[];
  may: Written[];
  isAnything: boolean;
}

/** What a block may hold: from its last write on of which that is certain. Version 0 is zeros. */
class Block {
  versions: Written[] = [{ version: 0, isDone: true }];
  /** Where those begin that a crash may leave. */
  durable = 0;
  /** The number of the first versions any of which a crash may have left. */
  ambiguous = 1;
  /** A lie has met the block, its sum, or both before a crash: it may be unreadable, or anything. */
  isHit = false;
  isSumHit = false;
  /** Its sum may be an older one: the page, or another one that was to come here, was written elsewhere, or nowhere. */
  isSumStale = false;
  isAnything = false;

  get lastDone(): number {
    return this.versions.findLastIndex(({ isDone }) => isDone);
  }

  /** No version from before the last completed write can come back. */
  settle(version: number): void {
    this.versions = [{ version, isDone: true }, ...this.versions.filter(({ isDone }) => !isDone)];
    this.durable = 0;
    this.ambiguous = 1;
  }
}

/** One run of a process over the device. */
interface Run {
  life: Life;
  registry: BdevRegistry;
  memory: BufferMemory;
  descriptor: BdevDescriptor;
  cache: PageCache;
  edges: EdgeBuffers;
  sums: MemberSums;
  buffers: number[];
  damaged: number[];
  notWritten: number;
}

class Bench {
  readonly world: World;
  readonly random: Random;
  readonly disk: SimDisk;
  /** Bytes; all numbers of blocks are of these, but for {@link SumsKnowledge}. */
  readonly blockSize: number;
  /** Blocks that have one sum. */
  readonly perSum: number;
  readonly sectors: number;
  readonly dataOffset: number;
  readonly dataBlocks: number;
  readonly areaOffset: number;
  readonly regionBlocks: number;
  readonly blocks: Block[];
  readonly states: State[] = Array.from({ length: numRegions }, () => 'unwritten');
  /** Users' I/O in flight, and what waits for that to end and lets none begin. */
  readonly inFlight = new Array<number>(numRegions).fill(0);
  readonly isHeld = new Array<boolean>(numRegions).fill(false);
  readonly cachePages: number;
  version = 0;
  unreadable = 0;
  reads = 0;
  isCorrupting = false;
  run!: Run;

  constructor(seed: number, cachePages: number, blockSize = 4096) {
    this.blockSize = blockSize;
    this.perSum = summedBytes / blockSize;
    this.sectors = blockSize / 512;
    this.dataOffset = summedOffset * this.perSum;
    this.dataBlocks = numSummed * this.perSum;
    this.areaOffset = this.dataOffset + this.dataBlocks;
    this.regionBlocks = regionSummed * this.perSum;
    this.blocks = Array.from({ length: this.dataBlocks }, () => new Block());
    this.world = new World(seed);
    this.random = new Random(seed, 7);
    this.cachePages = cachePages;
    this.disk = new SimDisk(this.world, new Random(seed, 8), {
      name: 'm0',
      uuid: member.memberUuid,
      blockSize,
      numBlocks: this.areaOffset + pagesFor(numSummed, checksumPages) * this.perSum,
      latency: { leastMs: 0.05, meanMs: 0.2 },
      hasWriteCache: true,
      hasForceUnitAccess: true,
      fill: 0xa5,
    });
    this.disk.dataSector = this.dataOffset * this.sectors;
    this.disk.onLie = (first, count) => this.#hit(Math.floor(first / this.sectors), Math.ceil((first + count) / this.sectors));
  }

  /** Of blocks that have sums. */
  blocksOf(first: number, end: number): { start: number; end: number }[] {
    return [{ start: first * this.perSum, end: end * this.perSum }];
  }

  regionOf(block: number): number {
    return Math.floor(block / this.regionBlocks);
  }

  async start(): Promise<void> {
    const life: Life = { isDead: false };
    const memory = new BufferMemory({ bytes: 4 << 20 });
    const registry = new BdevRegistry(this.world.runtime(life, memory));
    await this.#until(registry.register(this.disk.plugIn(memory, life)));
    const descriptor = registry.open('m0', { writable: true });
    const keyAddr = memory.allocRegion(BLOCK_SUM_KEY_BYTES);
    makeBlockSumKey(Buffer.alloc(32, 3), memory.u8.subarray(keyAddr, keyAddr + BLOCK_SUM_KEY_BYTES));
    const cache = new PageCache(registry, this.cachePages, checksumPages.pageBytes);
    const counts = (block: number): boolean => ['clean', 'dirty'].includes(this.states[this.regionOf(block * this.perSum)]!);
    const edges = new EdgeBuffers(memory);
    const run: Omit<Run, 'sums'> = {
      life,
      registry,
      memory,
      descriptor,
      cache,
      edges,
      buffers: [],
      damaged: [],
      notWritten: 0,
    };
    const sums = new MemberSums({
      descriptor,
      dataOffset: this.dataOffset,
      dataSize: this.dataBlocks,
      areaOffset: this.areaOffset,
      tag: 0,
      keyAddr,
      cache,
      edges,
      format: checksumPages,
      codec: checksumPages.codecFor(member),
      knowledge: {
        counts,
        endOfRun: (block, limit) => {
          let end = block + 1;
          while (end < limit && counts(end) === counts(block)) end++;
          return end;
        },
      },
      listener: {
        onDamage: (block) => run.damaged.push(block),
        onLost: () => undefined,
        onSumsLost: () => undefined,
        onGivenSumsLost: () => undefined,
        onPageNotWritten: () => run.notWritten++,
        onPageGivenUp: () => false,
      },
    });
    for (let i = 0; i < 8; i++) run.buffers.push(memory.allocRegion(40 * summedBytes));
    this.run = Object.assign(run, { sums });
  }

  /** The power fails while the process runs. */
  async crash(): Promise<void> {
    this.run.life.isDead = true;
    this.disk.powerCut(this.random.pick([CutMode.Random, CutMode.Prefix, CutMode.LoseAll, CutMode.KeepAll]));
    this.disk.faults.clear();
    for (const [index, block] of this.blocks.entries()) {
      const state = this.states[this.regionOf(index)]!;
      // The versions that could be told apart from what a crash has left.
      if (block.isHit && state !== 'clean') block.isAnything = true;
      // The sectors of a block may have different versions.
      if (this.blockSize > 512 && block.versions.length > block.durable + 1) block.isAnything = true;
      block.versions = block.versions.slice(block.durable).map(({ version }) => ({ version, isDone: true }));
      block.durable = 0;
      block.ambiguous = block.versions.length;
    }
    this.states.forEach((state, region) => {
      if (state === 'dirty') this.states[region] = 'doubtful';
    });
    this.inFlight.fill(0);
    this.isHeld.fill(false);
    await this.start();
    // What is doubtful may be any of what was written: the first read decides.
  }

  async stop(): Promise<void> {
    const { cache, edges, registry, sums, descriptor } = this.run;
    await this.#until(sums.close());
    cache.close();
    edges.close();
    descriptor.close();
    expect(registry.ios.outstanding).toBe(0);
  }

  io(type: IoType, block: number, count: number, addr = -1): Promise<Status> {
    const { registry, sums } = this.run;
    return new Promise((resolve) => {
      const io = registry.ios.get();
      io.type = type;
      io.offsetBlocks = this.dataOffset + block;
      io.numBlocks = count;
      io.addr = addr;
      io.owner = {
        onIoDone: (done: BdevIo) => {
          const { status } = done;
          registry.ios.put(done);
          resolve(status);
        },
      };
      sums.submit(io);
    });
  }

  /** A sleep is over when its process has ended. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.world.after(ms, resolve, this.run.life));
  }

  /** Region after region, as the write-intent bitmap does it before a first write. */
  async #setBits(block: number, count: number): Promise<void> {
    for (let region = this.regionOf(block); region <= this.regionOf(block + count - 1); region++) {
      while (this.isHeld[region]) await this.#sleep(0.1);
      if (this.states[region] === 'unwritten') {
        this.isHeld[region] = true;
        await this.io(IoType.WriteZeroes, region * this.regionBlocks, this.regionBlocks);
        await this.io(IoType.Flush, 0, this.dataBlocks);
        for (const one of this.blocks.slice(region * this.regionBlocks, (region + 1) * this.regionBlocks)) one.settle(0);
        this.isHeld[region] = false;
      }
      if (this.states[region] !== 'doubtful') this.states[region] = 'dirty';
      this.inFlight[region]!++;
    }
  }

  async write(block: number, count: number, type: IoType = IoType.Write): Promise<void> {
    await this.#setBits(block, count);
    const { buffers, memory } = this.run;
    const addr = buffers.pop();
    if (addr !== undefined) {
      const versions: Written[] = [];
      for (let i = 0; i < count; i++) {
        const version = type === IoType.Write ? ++this.version : 0;
        if (type === IoType.Write) fill(memory, addr + i * this.blockSize, block + i, version, this.blockSize);
        const written = { version, isDone: false };
        versions.push(written);
        this.blocks[block + i]!.versions.push(written);
      }
      const status = await this.io(type, block, count, type === IoType.Write ? addr : -1);
      expect(status).toBe(Status.Ok);
      for (const [i, written] of versions.entries()) {
        written.isDone = true;
        const one = this.blocks[block + i]!;
        one.isAnything &&= one.isHit && this.states[this.regionOf(block + i)] === 'doubtful';
      }
      buffers.push(addr);
    }
    for (let region = this.regionOf(block); region <= this.regionOf(block + count - 1); region++) this.inFlight[region]!--;
  }

  async read(block: number, count: number): Promise<void> {
    if (this.states[this.regionOf(block)] === 'unwritten' || this.states[this.regionOf(block + count - 1)] === 'unwritten')
      return;
    const { buffers, memory } = this.run;
    const addr = buffers.pop();
    if (addr === undefined) return;
    const before = this.blocks.slice(block, block + count).map((one, i) => this.#possible(one, block + i));
    const status = await this.io(IoType.Read, block, count, addr);
    this.reads++;
    if (status === Status.Ok) {
      for (let i = 0; i < count; i++) this.#judge(memory, addr + i * this.blockSize, block + i, before[i]!);
    } else {
      expect(status).toBe(Status.IoError);
      this.unreadable++;
      const mayFail = this.blocks.slice(block, block + count).some(({ isHit, isSumHit }) => isHit || isSumHit);
      if (!mayFail) throw new Error(`blocks ${block} to ${block + count - 1} are right, and cannot be read`);
    }
    buffers.push(addr);
  }

  #possible(one: Block, block: number): Possible {
    const isDoubtful = this.states[this.regionOf(block)] === 'doubtful';
    return { known: [...one.versions], may: one.versions.slice(isDoubtful ? 0 : one.lastDone), isAnything: one.isAnything };
  }

  /** `before`: what the block could hold when the read began. */
  #judge(memory: BufferMemory, addr: number, block: number, before: Possible): void {
    const one = this.blocks[block]!;
    // A device that loses a write and that of its sum too says what it said before; no sum on the same device can tell.
    if (before.isAnything || one.isAnything || (one.isHit && one.isSumStale)) return;
    const found = versionAt(memory, addr, block, this.blockSize);
    const may = [...before.may, ...one.versions.filter((written) => !before.known.includes(written))];
    if (may.some(({ version }) => version === found)) return;
    throw new Error(`block ${block} reads as version ${found}, and may be ${may.map(({ version }) => version).join(', ')}`);
  }

  /** Everything that is written and done is on stable media from now on, if no lie has met it. */
  async flush(): Promise<void> {
    const done = this.blocks.map((one) => one.versions[one.lastDone]!);
    const status = await this.io(IoType.Flush, 0, this.dataBlocks);
    expect(status).toBe(Status.Ok);
    this.blocks.forEach((one, index) => {
      const last = one.versions.indexOf(done[index]!);
      if (last >= one.ambiguous - (one.ambiguous === 1 ? 1 : 0)) one.durable = Math.max(one.durable, last);
    });
  }

  /** A region that was in doubt is written anew, and one that is idle becomes clean. */
  async settle(region: number): Promise<void> {
    if (this.isHeld[region] || !['dirty', 'doubtful'].includes(this.states[region]!)) return;
    this.isHeld[region] = true;
    while (this.inFlight[region]! > 0) await this.#sleep(0.1);
    if (this.states[region] === 'doubtful') await this.#rewrite(region);
    await this.flush();
    await this.run.sums.writeOut(this.blocksOf(region * regionSummed, (region + 1) * regionSummed));
    await this.flush();
    this.states[region] = 'clean';
    this.isHeld[region] = false;
  }

  async #rewrite(region: number): Promise<void> {
    const { buffers, memory } = this.run;
    let addr = buffers.pop();
    while (addr === undefined) {
      await this.#sleep(0.1);
      addr = buffers.pop();
    }
    for (let block = region * this.regionBlocks; block < (region + 1) * this.regionBlocks; block += this.perSum) {
      const isRead = (await this.io(IoType.Read, block, this.perSum, addr)) === Status.Ok;
      const written: Written[] = [];
      for (let i = 0; i < this.perSum; i++) {
        const one = this.blocks[block + i]!;
        const at = addr + i * this.blockSize;
        if (isRead) {
          this.#judge(memory, at, block + i, this.#possible(one, block + i));
        } else {
          // Redundancy would have the data.
          if (!one.isHit && !one.isSumHit) throw new Error(`block ${block + i} is right, and cannot be read`);
          fill(memory, at, block + i, ++this.version, this.blockSize);
          one.isAnything = false;
        }
        written.push({ version: versionAt(memory, at, block + i, this.blockSize), isDone: false });
        one.versions.push(written[i]!);
      }
      expect(await this.io(IoType.Write, block, this.perSum, addr)).toBe(Status.Ok);
      for (const one of written) one.isDone = true;
    }
    buffers.push(addr);
  }

  /** Lets `work` go on until it is done, or for so long in virtual time. */
  async #until(work: Promise<unknown>, maxMs = 1e6): Promise<void> {
    let isDone = false;
    void work.then(
      () => (isDone = true),
      (error: unknown) => this.world.fail(error instanceof Error ? error : new Error(String(error))),
    );
    const end = await this.world.run(() => isDone, { maxMs, maxSteps: 2e6 });
    if (this.world.failure !== null) throw this.world.failure;
    if (maxMs === 1e6) expect(end).toBe('done');
  }

  async users(operations: number, maxMs = 1e6): Promise<void> {
    let left = operations;
    const user = async (): Promise<void> => {
      while (left-- > 0) {
        const count = this.random.int(1, 30);
        // The blocks are near one another, so that requests overlap.
        const block = Math.min(
          this.dataBlocks - count,
          this.random.int(0, 4) * 300 * this.perSum + this.random.int(0, 120 * this.perSum),
        );
        const what = this.random.unit();
        if (what < 0.45) await this.write(block, count);
        else if (what < 0.5) await this.write(block, count, IoType.WriteZeroes);
        else if (what < 0.9) await this.read(block, count);
        else if (what < 0.94) await this.flush();
        else await this.settle(this.random.int(0, numRegions - 1));
        if (this.random.chance(0.1)) await this.#sleep(this.random.exponential(2));
      }
    };
    await this.#until(Promise.all(Array.from({ length: 6 }, user)), maxMs);
  }

  async all(work: () => Promise<void>): Promise<void> {
    await this.#until(work());
  }

  /** A bit of the data or of the checksums flips. */
  corrupt(): void {
    const { numBlocks } = this.disk;
    const block = this.random.chance(0.3)
      ? this.random.int(this.areaOffset, numBlocks - 1)
      : this.random.int(this.dataOffset, this.areaOffset - 1);
    this.isCorrupting = true;
    this.disk.corrupt(block * this.sectors + this.random.int(0, this.sectors - 1), this.random.int(0, 4095));
    this.isCorrupting = false;
  }

  /** Blocks of the device from its start: each of those that share its sum with one may be unreadable. */
  #hit(first: number, end: number): void {
    const startOf = (block: number): number => Math.floor(block / this.perSum) * this.perSum;
    for (let start = startOf(first); start < end; start += this.perSum) {
      if (start >= this.areaOffset) {
        const from = (start - this.areaOffset) * perPage;
        for (const one of this.blocks.slice(from, from + perPage * this.perSum)) {
          one.isSumHit = true;
          one.isSumStale ||= !this.isCorrupting;
        }
      } else if (start >= this.dataOffset) {
        const block = start - this.dataOffset;
        for (const one of this.blocks.slice(block, block + this.perSum)) {
          one.isHit = true;
          if (this.states[this.regionOf(block)] === 'doubtful') one.isAnything = true;
        }
      }
    }
  }
}

function fill({ view }: BufferMemory, addr: number, block: number, version: number, blockSize: number): void {
  view.setUint32(addr, version, true);
  for (let at = 4, x = block * 7919 + version; at < blockSize; at += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    view.setUint32(addr + at, x, true);
  }
}

/** -1 stands for a block that was never written. */
function versionAt({ u8, view }: BufferMemory, addr: number, block: number, blockSize: number): number {
  const version = view.getUint32(addr, true);
  if (version === 0) return u8.subarray(addr, addr + blockSize).every((byte) => byte === 0) ? 0 : -1;
  for (let at = 4, x = block * 7919 + version; at < blockSize; at += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    if (view.getInt32(addr + at, true) !== x) return -1;
  }
  return version;
}

describe('the room for sums', () => {
  it('is as much as the data needs, and no more', () => {
    for (let room = 0; room < 3000; room++) {
      const { data, pages } = divideRoom(room, checksumPages);
      expect(data + pages).toBeLessThanOrEqual(Math.max(room, 1));
      expect(pagesFor(data, checksumPages)).toBeLessThanOrEqual(pages);
      expect(data + 1 + pagesFor(data + 1, checksumPages)).toBeGreaterThan(room);
    }
  });
});

describe('sums of a member', () => {
  it.each([
    [4096, 1],
    [4096, 3],
    [512, 1],
    [512, 8],
  ])('of an honest device never cost a read, on blocks of %i bytes, with crashes, in %i pages', async (blockSize, pages) => {
    for (let seed = 1; seed <= 2; seed++) {
      const bench = new Bench(seed, pages, blockSize);
      await bench.start();
      for (let life = 0; life < 4; life++) {
        await bench.users(150, bench.random.chance(0.7) ? bench.random.exponential(60) : 1e6);
        await bench.crash();
      }
      await bench.users(100);
      await bench.stop();
      expect(bench.reads).toBeGreaterThan(50);
      expect(bench.unreadable).toBe(0);
    }
  });

  it('of a device that lies: what is read is right, or it is an error', async () => {
    let unreadable = 0;
    for (let seed = 100; seed < 104; seed++) {
      const bench = new Bench(seed, 1 + (seed % 4), seed % 2 === 0 ? 4096 : 512);
      await bench.start();
      for (let life = 0; life < 4; life++) {
        await bench.users(60);
        for (let lies = bench.random.int(0, 4); lies > 0; lies--) {
          bench.corrupt();
        }
        if (bench.random.chance(0.5)) bench.disk.faults.lostWrites = 1;
        else bench.disk.faults.misdirectedWrites = 1;
        await bench.users(100, bench.random.chance(0.7) ? bench.random.exponential(80) : 1e6);
        await bench.crash();
      }
      await bench.users(100);
      await bench.stop();
      unreadable += bench.unreadable;
    }
    expect(unreadable).toBeGreaterThan(10);
  });
});

/** A run in which all regions that are named are clean, and every block of them has been written. */
async function written(regions: readonly number[], cachePages = 2, blockSize = 4096): Promise<Bench> {
  const bench = new Bench(1, cachePages, blockSize);
  await bench.start();
  for (const region of regions) {
    await bench.all(async () => {
      for (let at = 0; at < bench.regionBlocks; at += 20) await bench.write(region * bench.regionBlocks + at, 20);
      await bench.settle(region);
    });
  }
  return bench;
}

/** One read; its status. */
async function readStatus(bench: Bench, block: number, count = 1): Promise<Status> {
  let status: Status = -1;
  await bench.all(async () => {
    status = await bench.io(IoType.Read, block, count, bench.run.buffers[0]);
  });
  return status;
}

/** One write of the block's next version, past the write-intent bitmap; its status. */
async function writeStatus(bench: Bench, block: number, type: IoType = IoType.Write): Promise<Status> {
  const addr = bench.run.buffers[0]!;
  fill(bench.run.memory, addr, block, ++bench.version, bench.blockSize);
  let status: Status = -1;
  await bench.all(async () => {
    status = await bench.io(type, block, 1, type === IoType.Write ? addr : -1);
  });
  return status;
}

/** All of the page's bytes on the device are this one from now on. */
function overwritePage(bench: Bench, page: number, byte: number): void {
  const at = bench.areaOffset * bench.blockSize + page * summedBytes;
  bench.disk.media.write(at, new Uint8Array(summedBytes).fill(byte), 0, summedBytes);
}

function flipBit(bench: Bench, block: number): void {
  bench.disk.corrupt((bench.dataOffset + block) * bench.sectors, 77);
}

describe('a block', () => {
  it('that has been damaged is the only one that cannot be read, until it is written', async () => {
    const bench = await written([0]);
    flipBit(bench, 42);
    expect(await readStatus(bench, 42)).toBe(Status.IoError);
    expect(await readStatus(bench, 20, 30)).toBe(Status.IoError);
    expect(bench.run.damaged).toEqual([42, 42]);
    expect(await readStatus(bench, 41)).toBe(Status.Ok);
    expect(await readStatus(bench, 43, 20)).toBe(Status.Ok);
    expect(await writeStatus(bench, 42)).toBe(Status.Ok);
    expect(await readStatus(bench, 0, 40)).toBe(Status.Ok);
    expect(await readStatus(bench, 42)).toBe(Status.Ok);
  });

  it('with the right data of another place, or of another time, cannot be read', async () => {
    const bench = await written([0]);
    const bytes = new Uint8Array(summedBytes);
    const at = (block: number) => (bench.dataOffset + block) * summedBytes;
    bench.disk.media.read(bytes, 0, at(7), summedBytes);
    bench.disk.media.write(at(8), bytes, 0, summedBytes);
    expect(await readStatus(bench, 8)).toBe(Status.IoError);
    expect(await writeStatus(bench, 7)).toBe(Status.Ok);
    bench.disk.media.write(at(7), bytes, 0, summedBytes);
    expect(await readStatus(bench, 7)).toBe(Status.IoError);
  });

  it.each([0, 0xa5])('is not believed without a sum where the region is clean: a page of bytes %i', async (byte) => {
    const bench = await written([0, 4, 5, 6]);
    await bench.crash();
    overwritePage(bench, 0, byte);
    flipBit(bench, 42);
    expect(await readStatus(bench, 42)).toBe(Status.IoError);
    // Nor are those that are right; a write makes one good, and what is good stays so.
    expect(await readStatus(bench, 43)).toBe(Status.IoError);
    expect(await writeStatus(bench, 43)).toBe(Status.Ok);
    expect(await readStatus(bench, 43)).toBe(Status.Ok);
    // Another page, and its regions, are as they were; region 4 has blocks of both.
    expect(await readStatus(bench, 480, 20)).toBe(Status.Ok);
    expect(await readStatus(bench, 479)).toBe(Status.IoError);
  });

  it('of a region in doubt is verified once it has been written, also when its page has been out of memory', async () => {
    const bench = await written([0, 10], 1);
    bench.states[0] = 'dirty';
    await bench.crash();
    expect(bench.states[0]).toBe('doubtful');
    flipBit(bench, 42);
    flipBit(bench, 43);
    // The block may be so after a crash; this cannot be detected.
    expect(await readStatus(bench, 42)).toBe(Status.Ok);
    expect(await writeStatus(bench, 43)).toBe(Status.Ok);
    // Another page is now the only one in memory.
    expect(await readStatus(bench, 1000)).toBe(Status.Ok);
    flipBit(bench, 43);
    expect(await readStatus(bench, 42)).toBe(Status.Ok);
    expect(await readStatus(bench, 43)).toBe(Status.IoError);
  });

  it('that was unmapped has no sum, and one that was given zeros has theirs', async () => {
    const bench = await written([0]);
    expect(await writeStatus(bench, 5, IoType.Unmap)).toBe(Status.Ok);
    bench.disk.media.write((bench.dataOffset + 5) * summedBytes, new Uint8Array(summedBytes).fill(9), 0, summedBytes);
    expect(await readStatus(bench, 5)).toBe(Status.Ok);
    expect(await writeStatus(bench, 6, IoType.WriteZeroes)).toBe(Status.Ok);
    expect(await readStatus(bench, 6)).toBe(Status.Ok);
    flipBit(bench, 6);
    expect(await readStatus(bench, 6)).toBe(Status.IoError);
  });

  it('whose write has failed is not verified before the next one', async () => {
    const bench = await written([0]);
    bench.disk.faults.writeErrors = 1;
    expect(await writeStatus(bench, 5)).toBe(Status.IoError);
    expect(await readStatus(bench, 5)).toBe(Status.Ok);
    expect(await writeStatus(bench, 5)).toBe(Status.Ok);
    flipBit(bench, 5);
    expect(await readStatus(bench, 5)).toBe(Status.IoError);
  });
});

describe('on blocks of 512 bytes', () => {
  it('a part of a block is verified with the rest of it', async () => {
    const bench = await written([0], 2, 512);
    flipBit(bench, 8 * 42 + 3);
    for (const [block, count] of [
      [8 * 42, 1],
      [8 * 42 + 7, 1],
      [8 * 41 + 5, 4],
      [8 * 42 + 6, 12],
      [8 * 40 + 1, 30],
    ] as const) {
      expect(await readStatus(bench, block, count)).toBe(Status.IoError);
    }
    for (const [block, count] of [
      [8 * 41, 8],
      [8 * 41 + 2, 3],
      [8 * 43, 1],
      [8 * 40 + 1, 15],
      [8 * 43 + 7, 9],
    ] as const) {
      expect(await readStatus(bench, block, count)).toBe(Status.Ok);
    }
    expect(new Set(bench.run.damaged)).toEqual(new Set([42]));
  });

  it('a write of a part of a damaged block does not make it good, and a write of all of it does', async () => {
    const bench = await written([0], 2, 512);
    flipBit(bench, 8 * 42 + 3);
    expect(await writeStatus(bench, 8 * 42 + 5)).toBe(Status.Ok);
    expect(await readStatus(bench, 8 * 42 + 5)).toBe(Status.IoError);
    // A write of the damaged block does not do so either, because more blocks may be damaged.
    expect(await writeStatus(bench, 8 * 42 + 3)).toBe(Status.Ok);
    expect(await readStatus(bench, 8 * 42 + 3)).toBe(Status.IoError);
    await bench.all(() => bench.write(8 * 42, 8));
    expect(await readStatus(bench, 8 * 42, 8)).toBe(Status.Ok);
    expect(await writeStatus(bench, 8 * 42 + 5)).toBe(Status.Ok);
    expect(await readStatus(bench, 8 * 42 + 5)).toBe(Status.Ok);
  });

  it('a part of a block that the device cannot read can be written, and the block is read when all of it has been', async () => {
    const bench = await written([0], 2, 512);
    bench.disk.latent.add((bench.dataOffset + 8 * 42 + 3) * bench.sectors);
    expect(await writeStatus(bench, 8 * 42 + 5)).toBe(Status.Ok);
    expect(await readStatus(bench, 8 * 42 + 5)).toBe(Status.IoError);
    await bench.all(() => bench.write(8 * 42, 8));
    expect(await readStatus(bench, 8 * 42, 8)).toBe(Status.Ok);
  });
});

describe('pages of sums', () => {
  it('are read when a device that was given up lets go of all room for them, though nothing else goes on', async () => {
    const bench = await written([0, 12], 1, 512);
    expect(await readStatus(bench, 12 * bench.regionBlocks, 8)).toBe(Status.Ok);
    bench.run.descriptor.ioTimeoutMs = 100;
    bench.disk.faults.stuckUntil = bench.world.now + 5000;
    // The page and the edge are given up; what becomes of the write is said when the page is there.
    expect(await writeStatus(bench, 5)).not.toBe(-1);
    await bench.all(async () => bench.world.sleep(10_000));
    expect(await readStatus(bench, 12 * bench.regionBlocks, 8)).toBe(Status.Ok);
  });

  it.each(['alone', 'while an older write of them is slow', 'while another page is quicker'])(
    'are on the device when they have been written out, %s',
    async (how) => {
      const bench = await written([0, 1, 10]);
      const { disk, run } = bench;
      bench.states[0] = 'dirty';
      bench.states[10] = 'dirty';
      expect(await writeStatus(bench, 3)).toBe(Status.Ok);
      expect(await writeStatus(bench, 1000)).toBe(Status.Ok);
      await bench.all(async () => {
        const work: Promise<void>[] = [];
        disk.faults.slowness = 50;
        if (how.includes('older')) work.push(run.sums.writeOut(bench.blocksOf(0, 1)));
        disk.faults.slowness = 1;
        fill(run.memory, run.buffers[1]!, 4, ++bench.version, summedBytes);
        await bench.io(IoType.Write, 4, 1, run.buffers[1]);
        disk.faults.slowness = 50;
        const wanted = run.sums.writeOut(bench.blocksOf(0, regionSummed));
        disk.faults.slowness = 1;
        if (how.includes('quicker')) work.push(run.sums.writeOut(bench.blocksOf(1000, 1001)));
        await wanted;
        await bench.io(IoType.Flush, 0, bench.dataBlocks);
        await Promise.all(work);
      });
      bench.states[0] = 'clean';
      run.life.isDead = true;
      disk.powerCut(CutMode.LoseAll);
      await bench.start();
      expect(await readStatus(bench, 0, 40)).toBe(Status.Ok);
      flipBit(bench, 3);
      expect(await readStatus(bench, 3)).toBe(Status.IoError);
    },
  );

  it('that cannot be read are none, and that costs blocks of clean regions and no others', async () => {
    const bench = await written([0, 6], 1);
    bench.states[0] = 'dirty';
    await bench.crash();
    for (let sector = 0; sector < 8; sector++) bench.disk.latent.add(bench.areaOffset * 8 + sector);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
    expect(await writeStatus(bench, 3)).toBe(Status.Ok);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
    // After it is overwritten, it can be read again.
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    flipBit(bench, 3);
    expect(await readStatus(bench, 3)).toBe(Status.IoError);
  });

  it('that can be read at the second attempt count as if that had been the first', async () => {
    const bench = await written([0, 1, 6], 1);
    bench.states[0] = 'dirty';
    flipBit(bench, 3);
    await bench.crash();
    const sectors = Array.from({ length: 8 }, (_, sector) => bench.areaOffset * 8 + sector);
    for (const sector of sectors) bench.disk.latent.add(sector);
    expect(await readStatus(bench, 150)).toBe(Status.IoError);
    bench.disk.latent.clear();
    // Another page takes the place of the first one.
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    expect(await readStatus(bench, 150)).toBe(Status.Ok);
    // What a crash may have left means nothing later either.
    bench.states[0] = 'clean';
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
  });

  it('that could not be read count from the first write on', async () => {
    const bench = await written([0, 1, 6], 1);
    bench.states[0] = 'dirty';
    await bench.crash();
    for (let sector = 0; sector < 8; sector++) bench.disk.latent.add(bench.areaOffset * 8 + sector);
    expect(await readStatus(bench, 150)).toBe(Status.IoError);
    expect(await writeStatus(bench, 3)).toBe(Status.Ok);
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
    // What could not be read before that is lost.
    expect(await readStatus(bench, 150)).toBe(Status.IoError);
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    flipBit(bench, 3);
    expect(await readStatus(bench, 3)).toBe(Status.IoError);
  });

  describe('that could not be read for a while', () => {
    const sectorsOf = (bench: Bench, page: number): number[] =>
      Array.from({ length: 8 }, (_, sector) => (bench.areaOffset + page) * 8 + sector);

    /** Region 0 was being written at a crash, region 1 is clean, and the page of both is in memory without checksums. */
    async function lacking(): Promise<Bench> {
      const bench = await written([0, 1, 6], 1);
      bench.states[0] = 'dirty';
      await bench.crash();
      for (const sector of sectorsOf(bench, 0)) bench.disk.latent.add(sector);
      expect(await readStatus(bench, 150)).toBe(Status.IoError);
      return bench;
    }

    it('are read again for a block that they could not prove', async () => {
      const bench = await lacking();
      bench.disk.latent.clear();
      expect(await readStatus(bench, 150)).toBe(Status.Ok);
      expect(await readStatus(bench, 100, 40)).toBe(Status.Ok);
      // What a crash may have left means nothing later either.
      bench.states[0] = 'clean';
      flipBit(bench, 3);
      expect(await readStatus(bench, 3)).toBe(Status.Ok);
      flipBit(bench, 150);
      expect(await readStatus(bench, 150)).toBe(Status.IoError);
      expect(bench.run.damaged).toEqual([150]);
    });

    it('are read again before blocks without a checksum get one', async () => {
      const bench = await lacking();
      bench.disk.latent.clear();
      await bench.all(async () => {
        const [addr, again] = bench.run.buffers;
        expect(await bench.io(IoType.Read, 0, 40, addr)).toBe(Status.Ok);
        await bench.run.sums.sum(0, 40, again!, addr!);
      });
      expect(await readStatus(bench, 150)).toBe(Status.Ok);
      expect(await readStatus(bench, 650)).toBe(Status.Ok);
      flipBit(bench, 3);
      bench.states[0] = 'clean';
      expect(await readStatus(bench, 3)).toBe(Status.IoError);
      expect(await readStatus(bench, 150)).toBe(Status.Ok);
    });

    it('are not written for a flush that is lost', async () => {
      const bench = await lacking();
      bench.run.sums.onLostFlush();
      bench.disk.latent.clear();
      await bench.all(() => bench.run.sums.writeAll());
      expect(await readStatus(bench, 650)).toBe(Status.Ok);
      expect(await readStatus(bench, 150)).toBe(Status.Ok);
    });

    it('are read again before they are extended', async () => {
      const bench = await written([0, 14], 1);
      await bench.crash();
      for (const sector of sectorsOf(bench, 3)) bench.disk.latent.add(sector);
      expect(await readStatus(bench, 1495)).toBe(Status.IoError);
      bench.disk.latent.clear();
      await bench.all(() => bench.run.sums.extend(bench.dataBlocks + 4));
      expect(await readStatus(bench, 50)).toBe(Status.Ok);
      expect(await readStatus(bench, 1495)).toBe(Status.Ok);
    });

    it.each([true, false])('say of a region that begins that it has none, where they can be read again: %s', async (isRead) => {
      const bench = await lacking();
      if (isRead) bench.disk.latent.clear();
      await bench.all(() => bench.run.sums.wash(bench.blocksOf(200, 300)));
      bench.states[2] = 'dirty';
      expect(await readStatus(bench, 650)).toBe(Status.Ok);
      expect(await readStatus(bench, 250)).toBe(Status.Ok);
      expect(await readStatus(bench, 150)).toBe(isRead ? Status.Ok : Status.IoError);
    });

    it('cost nothing that is written to a part of a block of a region that begins', async () => {
      const bench = await written([0, 1, 6], 1, 512);
      await bench.crash();
      for (let sector = 0; sector < 8; sector++) bench.disk.latent.add(bench.areaOffset + sector);
      expect(await readStatus(bench, 150 * 8)).toBe(Status.IoError);
      await bench.all(() => bench.run.sums.wash(bench.blocksOf(200, 300)));
      bench.states[2] = 'dirty';
      expect(await writeStatus(bench, 250 * 8 + 3)).toBe(Status.Ok);
      expect(await readStatus(bench, 250 * 8, 8)).toBe(Status.Ok);
    });
  });

  it('that cannot be written are told of, hold no request up for ever, and are written when they can be', async () => {
    const bench = await written([0, 6, 12], 1);
    bench.states[0] = 'dirty';
    expect(await writeStatus(bench, 3)).toBe(Status.Ok);
    bench.disk.faults.writeErrors = Infinity;
    await bench.all(async () => {
      await expect(bench.run.sums.writeOut(bench.blocksOf(0, regionSummed))).rejects.toThrow(
        'page 0 of the checksums could not be written',
      );
    });
    expect(bench.run.notWritten).toBe(1);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
    bench.disk.faults.writeErrors = 0;
    await bench.all(() => bench.run.sums.writeOut(bench.blocksOf(0, regionSummed)));
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
    expect(await writeStatus(bench, 3)).toBe(Status.Ok);
    bench.disk.faults.writeErrors = Infinity;
    // For lack of room the page is given up; what it said is lost, and never taken for anything else.
    expect(await readStatus(bench, 1250)).toBe(Status.Ok);
    expect(await readStatus(bench, 4)).toBe(Status.Ok);
    expect(await readStatus(bench, 3)).toBe(Status.IoError);
  });

  it('that are given up although they could not be written are read again before a region begins', async () => {
    const bench = await written([6], 1);
    overwritePage(bench, 0, 0xa5);
    await bench.all(() => bench.run.sums.wash(bench.blocksOf(0, 100)));
    bench.disk.faults.writeErrors = Infinity;
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    bench.disk.faults.writeErrors = 0;
    await bench.all(() => bench.run.sums.wash(bench.blocksOf(0, 100)));
    bench.states[0] = 'dirty';
    expect(await readStatus(bench, 650)).toBe(Status.Ok);
    expect(await readStatus(bench, 3)).toBe(Status.Ok);
  });
});
