// Random reads at a fixed depth through our engine, in a reactor of its own. A program:
//   engine-driver.js PATH direct|buffered engine|bdev DEPTH BLOCK_BYTES SECONDS
// Prints one line of JSON.
import { closeSync, constants, openSync } from 'node:fs';
import { RingEngine, openLinuxBdev, useEngine } from '@raidkit/backend-linux';
import type { EngineOp } from '@raidkit/backend-linux';
import { BdevRegistry, IoType } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, IoOwner } from '@raidkit/bdev';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';

interface Job {
  depth: number;
  blockBytes: number;
  blocks: number;
  seconds: number;
}

/** Counts operations, and returns whether the run is over. */
class Progress {
  done = 0;
  inFlight = 0;
  readonly #endAt: number;
  readonly #onEnd: () => void;
  #random = 123_456_789;

  constructor(seconds: number, onEnd: () => void) {
    this.#endAt = performance.now() + seconds * 1000;
    this.#onEnd = onEnd;
  }

  /** Whether to go on; one operation has ended. */
  goesOn(): boolean {
    this.done++;
    // The clock costs as much as a tenth of an I/O.
    if ((this.done & 15) !== 0 || performance.now() < this.#endAt) return true;
    return false;
  }

  ended(): void {
    if (--this.inFlight === 0) this.#onEnd();
  }

  nextBlock(blocks: number): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return (this.#random >>> 0) % blocks;
  }
}

/** One of the operations that are always in flight. */
class EngineSlot implements EngineOp {
  readonly #start: (slot: EngineSlot) => void;
  readonly #progress: Progress;
  readonly addr: number;
  readonly #blockBytes: number;

  constructor(addr: number, blockBytes: number, progress: Progress, start: (slot: EngineSlot) => void) {
    this.addr = addr;
    this.#blockBytes = blockBytes;
    this.#progress = progress;
    this.#start = start;
  }

  onEngineDone(result: number): void {
    if (result !== this.#blockBytes) throw new Error(`a read gave ${result}`);
    if (this.#progress.goesOn()) this.#start(this);
    else this.#progress.ended();
  }
}

function throughEngine(
  { runtime, ring }: Reactor,
  fd: number,
  isDirect: boolean,
  { depth, blockBytes, blocks }: Job,
  progress: Progress,
): void {
  const engine = new RingEngine(runtime, ring);
  engine.opened(fd, isDirect);
  const addr = runtime.memory.allocRegion(depth * blockBytes);
  const start = (slot: EngineSlot): void =>
    engine.read(fd, slot.addr, blockBytes, progress.nextBlock(blocks) * blockBytes, slot);
  progress.inFlight = depth;
  for (let i = 0; i < depth; i++) start(new EngineSlot(addr + i * blockBytes, blockBytes, progress, start));
}

function throughBdev(
  registry: BdevRegistry,
  descriptor: BdevDescriptor,
  { depth, blockBytes, blocks }: Job,
  progress: Progress,
): void {
  const { ios } = registry;
  const numBlocks = blockBytes / descriptor.bdev.blockSize;
  const addr = registry.runtime.memory.allocRegion(depth * blockBytes);
  const submit = (io: BdevIo): void => {
    io.offsetBlocks = progress.nextBlock(blocks) * numBlocks;
    descriptor.submit(io);
  };
  const owner: IoOwner = {
    onIoDone(io) {
      if (io.status !== 0) throw new Error(`a read ended with ${io.status}`);
      if (progress.goesOn()) submit(io);
      else progress.ended();
    },
  };
  progress.inFlight = depth;
  for (let i = 0; i < depth; i++) {
    const io = ios.get();
    io.type = IoType.Read;
    io.numBlocks = numBlocks;
    io.addr = addr + i * blockBytes;
    io.owner = owner;
    submit(io);
  }
}

async function main(): Promise<void> {
  const [path = '', mode, via, depthText, blockText, secondsText] = process.argv.slice(2);
  const direct = mode === 'direct';
  const { reactor, reason } = await openReactor({ memoryBytes: 64 * 1024 * 1024 });
  if (reactor === null) throw new Error(reason);
  const { runtime, ring } = reactor;
  useEngine(runtime, new RingEngine(runtime, ring));
  reactor.start();
  const blockBytes = Number(blockText);
  const registry = new BdevRegistry(runtime);
  const bdev = await openLinuxBdev(registry, { name: 'target', path, directIo: direct ? 'require' : 'never' });
  const sizeBytes = bdev.numBlocks * bdev.blockSize;
  // A second description of the same file: the bdev keeps its own to itself.
  const fd = via === 'engine' ? openSync(path, constants.O_RDONLY | (direct ? constants.O_DIRECT : 0)) : -1;
  const descriptor = registry.open(bdev);
  const run = async (seconds: number): Promise<{ ops: number; seconds: number; cpuUs: number }> => {
    const job = { depth: Number(depthText), blockBytes, blocks: Math.floor(sizeBytes / blockBytes), seconds };
    const startedAt = performance.now();
    const cpu = process.cpuUsage();
    const progress = await new Promise<Progress>((resolve) => {
      const made: Progress = new Progress(seconds, () => resolve(made));
      if (via === 'engine') throughEngine(reactor, fd, direct, job, made);
      else throughBdev(registry, descriptor, job, made);
    });
    const { user, system } = process.cpuUsage(cpu);
    return { ops: progress.done, seconds: (performance.now() - startedAt) / 1000, cpuUs: (user + system) / progress.done };
  };
  await run(0.3);
  console.log(JSON.stringify(await run(Number(secondsText))));
  if (fd >= 0) closeSync(fd);
  descriptor.close();
  await registry.unregister(bdev);
  await reactor.stop();
}

await main();
