import { Bdev, BdevRegistry, IoType, Status } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevOptions, LookClock } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { BufferMemory } from '@raidkit/parity';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { afterAll } from 'vitest';
import { NbdServer, RingNbdServer, TlsTerminator } from '../src/index.js';
import type { AddExportOptions, NbdServerOptions, RingNbdServerOptions } from '../src/index.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** With RAIDKIT_ENGINE=uring the same tests run over io_uring. */
const reactor = process.env.RAIDKIT_ENGINE === 'uring' ? await startReactor() : null;
let extraReactor: Reactor | null = null;
afterAll(async () => {
  await reactor?.stop();
  await extraReactor?.stop();
});

/** The reactor is shared, because a thread can have only one. */
export async function theReactor(): Promise<Reactor> {
  return reactor ?? (extraReactor ??= await startReactor());
}

async function startReactor(): Promise<Reactor> {
  const opened = await openReactor({ memoryBytes: MiB });
  if (opened.reactor === null) throw new Error(opened.reason);
  opened.reactor.start();
  return opened.reactor;
}

/** A device in a byte array. It completes in later turns, in an order of chance, unless it is told to hold everything. */
export class MemoryDriver implements BdevDriver {
  readonly kind = 'memory';
  readonly productName = 'memory';
  hasForceUnitAccess = false;
  unsupported: IoType[] = [];
  readonly bytes: Buffer;
  readonly calls: { type: IoType; offsetBlocks: number; numBlocks: number; flags: number }[] = [];
  /** I/Os that were submitted and wait for {@link letGo}, if `isHolding`. */
  readonly held: BdevIo[] = [];
  isHolding = false;
  recordsCalls = true;
  /** Status for an I/O, decided when it is carried out. */
  fault: (io: BdevIo) => Status = () => Status.Ok;
  /** A number from 0 to 1, which decides how many turns an I/O takes. */
  chance: () => number = () => 0;
  readonly #memory: Uint8Array;
  readonly #blockSize: number;

  constructor(memory: Uint8Array, numBlocks: number, blockSize: number) {
    this.#memory = memory;
    this.#blockSize = blockSize;
    this.bytes = Buffer.alloc(numBlocks * blockSize);
  }

  supports(type: IoType): boolean {
    return !this.unsupported.includes(type);
  }

  submit(io: BdevIo): void {
    if (this.recordsCalls)
      this.calls.push({ type: io.type, offsetBlocks: io.offsetBlocks, numBlocks: io.numBlocks, flags: io.flags });
    if (this.isHolding) this.held.push(io);
    else this.#later(io, Math.floor(this.chance() * 4));
  }

  /** Carries out the held I/O, and holds no more. */
  letGo(): void {
    this.isHolding = false;
    for (const io of this.held.splice(0)) this.#perform(io);
  }

  #later(io: BdevIo, turns: number): void {
    if (turns === 0) this.#perform(io);
    else setImmediate(() => this.#later(io, turns - 1));
  }

  #perform(io: BdevIo): void {
    const status = this.fault(io);
    if (status === Status.Ok) {
      const start = io.offsetBlocks * this.#blockSize;
      const end = start + io.numBlocks * this.#blockSize;
      if (io.type === IoType.Read) this.#memory.set(this.bytes.subarray(start, end), io.addr);
      if (io.type === IoType.Write) this.bytes.set(this.#memory.subarray(io.addr, io.addr + end - start), start);
      const hasBytes = start < this.bytes.length;
      if (hasBytes && (io.type === IoType.WriteZeroes || io.type === IoType.Unmap))
        this.bytes.fill(0, start, Math.min(end, this.bytes.length));
    }
    io.complete(status);
  }
}

export interface Rig {
  registry: BdevRegistry;
  server: NbdServer;
  driver: MemoryDriver;
  bdev: Bdev;
}

export interface RigOptions {
  device?: Partial<BdevOptions>;
  server?: Partial<NbdServerOptions>;
  export?: Partial<AddExportOptions>;
  memoryBytes?: number;
  /** Replaces the runtime's. */
  clock?: LookClock;
}

/** A server with one export `disk`, the default, over a {@link MemoryDriver}. */
export function newRig(options: RigOptions = {}): Rig {
  const memoryBytes = options.memoryBytes ?? 64 * MiB;
  const machine =
    reactor === null ? nodeRuntime({ memoryBytes }) : { ...reactor.runtime, memory: new BufferMemory({ bytes: memoryBytes }) };
  const registry = new BdevRegistry({ ...machine, ...options.clock });
  const { bdev, driver } = addDevice(registry, options.device);
  const { tls, ...rest } = options.server ?? {};
  const serverOptions = { registry, maxConnections: 64, ...rest };
  const withTls = tls === undefined ? {} : { tls };
  const server =
    reactor === null
      ? new NbdServer({ ...serverOptions, ...withTls })
      : new RingNbdServer({ ring: reactor.ring, ...serverOptions, ...terminated(tls) });
  server.addExport({ name: 'disk', bdev, isDefault: true, ...options.export });
  return { registry, server, driver, bdev };
}

/** TLS for a server on a ring. */
function terminated(tls: NbdServerOptions['tls']): Pick<RingNbdServerOptions, 'tls'> {
  if (tls === undefined) return {};
  const terminator = new TlsTerminator(tls.credentials, () => undefined, {
    lingerMs: 100,
    ring: process.env.RAIDKIT_TLS_RECORDS === 'node' ? null : (reactor?.ring ?? null),
  });
  return { tls: { isRequired: tls.isRequired, take: (client) => terminator.take(client) } };
}

export function addDevice(registry: BdevRegistry, options: Partial<BdevOptions> = {}): { bdev: Bdev; driver: MemoryDriver } {
  const { name = 'm0', blockSize = 512, numBlocks = 2048 } = options;
  const driver = new MemoryDriver(registry.runtime.memory.u8, numBlocks, blockSize);
  const bdev = new Bdev({ name, uuid: `uuid of ${name}`, blockSize, numBlocks, driver, ...options });
  void registry.register(bdev);
  return { bdev, driver };
}

/** Throws unless nothing of the server is in use any more. */
export function assertNoLeak({ registry, server }: Pick<Rig, 'registry' | 'server'>): void {
  const { bytes, requests, requestObjectsOut } = server.usage;
  const rest = { bytes, requests, requestObjectsOut, ios: registry.ios.outstanding, connections: server.connectionCount };
  if (Object.values(rest).some((value) => value !== 0)) throw new Error(`left over: ${JSON.stringify(rest)}`);
}

export async function turns(count = 10): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a condition, turn by turn. */
export async function until(isSo: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Numbers that look like chance and are the same in every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pattern(bytes: number, seed: number): Buffer {
  const random = seeded(seed);
  const block = Buffer.from(Uint8Array.from({ length: Math.min(bytes, 4096) }, () => random() * 256));
  const all = Buffer.alloc(bytes, block);
  // Makes every 512 bytes different, so that data in the wrong place shows.
  for (let at = 0; at + 4 <= bytes; at += 512) all.writeUInt32BE((seed * 7919 + at) >>> 0, at);
  return all;
}

/** As `toEqual`, but fast for large buffers. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  throw new Error(`bytes differ from ${at} on, of ${actual.length} and ${expected.length}`);
}
