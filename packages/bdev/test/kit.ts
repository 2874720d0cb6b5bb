import { BufferMemory } from '@raidkit/parity';
import { Bdev, BdevRegistry, IoType, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevDriver, BdevIo, BdevOptions, IoOwner, Runtime } from '@raidkit/bdev';

interface Timer {
  at: number;
  order: number;
  fn: () => void;
}

/** A runtime whose time advances only on request: the same calls give the same run. */
export class ManualWorld implements Runtime {
  readonly log = { debug: nothing, info: nothing, warn: nothing, error: (...args: unknown[]) => void this.errors.push(args) };
  readonly errors: unknown[] = [];
  readonly memory: BufferMemory;
  #now = 0;
  #order = 0;
  #timers: Timer[] = [];
  #soon: (() => void)[] = [];

  constructor(memoryBytes = 4 * 1024 * 1024) {
    this.memory = new BufferMemory({ bytes: memoryBytes });
  }

  now(): number {
    return this.#now;
  }

  wallClock(): number {
    return this.#now;
  }

  setTimer(fn: () => void, ms: number): Timer {
    const timer = { at: this.#now + ms, order: this.#order++, fn };
    this.#timers.push(timer);
    return timer;
  }

  setWatchTimer(fn: () => void, ms: number): Timer {
    return this.setTimer(fn, ms);
  }

  clearTimer(timer: object): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
  }

  soon(fn: () => void): void {
    this.#soon.push(fn);
  }

  randomBytes(count: number): Uint8Array {
    return new Uint8Array(count).fill(7);
  }

  /** Runs one turn of the event loop: the work that was deferred before it. */
  turn(): void {
    const due = this.#soon;
    this.#soon = [];
    for (const fn of due) fn();
  }

  /** Runs turns until no deferred work is left. */
  settle(): void {
    while (this.#soon.length > 0) this.turn();
  }

  /** Lets time pass, with all that falls due, and settles. */
  pass(ms: number): void {
    const end = this.#now + ms;
    this.settle();
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at || a.order - b.order);
      if (next === undefined) break;
      this.clearTimer(next);
      this.#now = Math.max(this.#now, next.at);
      next.fn();
      this.settle();
    }
    this.#now = end;
  }

  /** Time passes while the process does not run: what falls due is late. */
  stall(ms: number): void {
    this.#now += ms;
  }

  get timerCount(): number {
    return this.#timers.length;
  }
}

function nothing(): void {
  // It does nothing on purpose.
}

/** Runs turns until the promise is settled. */
export async function settled<T>(world: ManualWorld, promise: Promise<T>): Promise<T> {
  const state = { isDone: false };
  const marked = promise.finally(() => {
    state.isDone = true;
  });
  marked.catch(nothing);
  for (let i = 0; !state.isDone; i++) {
    if (i === 100_000) throw new Error('the promise never settles');
    world.settle();
    await Promise.resolve();
    if (i % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
  }
  return marked;
}

export interface Call {
  type: IoType;
  offsetBlocks: number;
  numBlocks: number;
  flags: number;
}

/**
 * A device in a byte array that records its calls. By default it completes inside `submit`; with `isManual` it keeps what
 * it gets until `finish`.
 */
export class RecordingDriver implements BdevDriver {
  readonly kind = 'recorder';
  readonly productName = 'recorder';
  hasForceUnitAccess = false;
  unsupported: IoType[] = [];
  isManual = false;
  readonly calls: Call[] = [];
  readonly held: BdevIo[] = [];
  /** Statuses for the next I/Os, instead of carrying them out. */
  readonly answers: Status[] = [];
  destroyed = 0;
  readonly bytes: Uint8Array;
  readonly #world: ManualWorld;
  readonly #blockSize: number;

  constructor(world: ManualWorld, numBlocks: number, blockSize: number) {
    this.#world = world;
    this.#blockSize = blockSize;
    this.bytes = new Uint8Array(numBlocks * blockSize);
  }

  supports(type: IoType): boolean {
    return !this.unsupported.includes(type);
  }

  submit(io: BdevIo): void {
    const { type, offsetBlocks, numBlocks, flags } = io;
    this.calls.push({ type, offsetBlocks, numBlocks, flags });
    if (this.isManual) this.held.push(io);
    else this.finish(io);
  }

  /** Carries out the I/O, or gives it the next of `answers`. */
  finish(io: BdevIo, status = this.answers.shift() ?? Status.Ok): void {
    const index = this.held.indexOf(io);
    if (index >= 0) this.held.splice(index, 1);
    if (status === Status.Ok) this.#perform(io);
    io.complete(status);
  }

  finishAll(): void {
    while (this.held.length > 0) this.finish(this.held[0]!);
  }

  destroy(): void {
    this.destroyed++;
  }

  /** The calls as text, `write 3+2`. */
  get log(): string[] {
    const names = ['read', 'write', 'unmap', 'flush', 'zeroes', 'reset'];
    return this.calls.map(({ type, offsetBlocks, numBlocks, flags }) => {
      const range = type === IoType.Flush || type === IoType.Reset ? '' : ` ${offsetBlocks}+${numBlocks}`;
      return `${names[type]}${range}${flags === 0 ? '' : ` f${flags}`}`;
    });
  }

  #perform({ type, offsetBlocks, numBlocks, addr }: BdevIo): void {
    const { u8 } = this.#world.memory;
    const start = offsetBlocks * this.#blockSize;
    const length = numBlocks * this.#blockSize;
    if (type === IoType.Read) u8.set(this.bytes.subarray(start, start + length), addr);
    if (type === IoType.Write) this.bytes.set(u8.subarray(addr, addr + length), start);
    if (type === IoType.WriteZeroes || type === IoType.Unmap) this.bytes.fill(0, start, start + length);
  }
}

/** What became of a request. */
export interface Outcome {
  status: Status | null;
  io: BdevIo;
}

export interface Rig {
  world: ManualWorld;
  registry: BdevRegistry;
  driver: RecordingDriver;
  bdev: Bdev;
}

export function newRig(options: Partial<BdevOptions> = {}, setUp: (driver: RecordingDriver) => void = nothing): Rig {
  const world = new ManualWorld();
  const registry = new BdevRegistry(world);
  return { world, registry, ...addDevice(world, registry, options, setUp) };
}

export function addDevice(
  world: ManualWorld,
  registry: BdevRegistry,
  options: Partial<BdevOptions> = {},
  setUp: (driver: RecordingDriver) => void = nothing,
): { bdev: Bdev; driver: RecordingDriver } {
  const { name = 'm0', blockSize = 512, numBlocks = 64 } = options;
  const driver = new RecordingDriver(world, numBlocks, blockSize);
  setUp(driver);
  const bdev = new Bdev({ name, uuid: `uuid of ${name}`, blockSize, numBlocks, driver, ...options });
  void registry.register(bdev);
  return { bdev, driver };
}

/** Starts a request without waiting for it. */
export function start(
  descriptor: BdevDescriptor,
  type: IoType,
  offsetBlocks = 0,
  numBlocks = 1,
  { addr = -1, flags = 0, onDone = nothing }: { addr?: number; flags?: number; onDone?: (outcome: Outcome) => void } = {},
): Outcome {
  const { ios } = descriptor.bdev.registry;
  const io = ios.get();
  const outcome: Outcome = { status: null, io };
  const owner: IoOwner = {
    onIoDone(done) {
      if (outcome.status !== null) throw new Error('told twice');
      outcome.status = done.status;
      ios.put(done);
      onDone(outcome);
    },
  };
  Object.assign(io, { type, flags, offsetBlocks, numBlocks, addr, owner });
  descriptor.submit(io);
  return outcome;
}

export function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 0xff);
}

export function expectSame(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) throw new Error('the bytes differ');
}
