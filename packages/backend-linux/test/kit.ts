import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BdevRegistry, BlockClient } from '@raidkit/bdev';
import type { Bdev, BdevEvent, BdevIo, IoType, Runtime } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { PortableEngine, RingEngine, openLinuxBdev } from '@raidkit/backend-linux';
import type { EngineOp, IoEngine, LinuxBdevOptions } from '@raidkit/backend-linux';
import { BufferMemory } from '@raidkit/parity';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { afterAll, expect } from 'vitest';

export const KiB = 1024;
export const MiB = 1024 * 1024;

/** With RAIDKIT_ENGINE=uring the same tests run over io_uring. */
const reactor = process.env.RAIDKIT_ENGINE === 'uring' && process.env.RAIDKIT_NO_FFI !== '1' ? await startReactor() : null;
afterAll(() => reactor?.stop());

async function startReactor(): Promise<Reactor> {
  const opened = await openReactor({ memoryBytes: MiB });
  if (opened.reactor === null) throw new Error(opened.reason);
  opened.reactor.start();
  return opened.reactor;
}

/** The engine under test. */
export function newEngine(runtime: Runtime): IoEngine {
  return reactor === null ? new PortableEngine(runtime) : new RingEngine(runtime, reactor.ring);
}

export interface LogLine {
  level: 'info' | 'warn' | 'error';
  fields: Record<string, unknown>;
  message: string;
}

/** A test's folder, registry and loop devices, all cleaned up at its end. */
export class Bench {
  readonly folder = fs.mkdtempSync(join(tmpdir(), 'raidkit-linux-'));
  readonly log: LogLine[] = [];
  readonly runtime: Runtime;
  readonly registry: BdevRegistry;
  readonly engine: IoEngine;
  readonly #cleanups: (() => unknown)[] = [];

  constructor() {
    const line = (level: LogLine['level']) => (fields: object, message: string) => {
      this.log.push({ level, fields: fields as Record<string, unknown>, message });
    };
    const log = { debug: () => undefined, info: line('info'), warn: line('warn'), error: line('error') };
    this.runtime =
      reactor === null
        ? nodeRuntime({ memoryBytes: 32 * MiB, log })
        : { ...reactor.runtime, log, memory: new BufferMemory({ bytes: 32 * MiB }) };
    this.registry = new BdevRegistry(this.runtime);
    this.engine = newEngine(this.runtime);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A sparse file. */
  file(name: string, bytes: number): string {
    fs.closeSync(fs.openSync(this.path(name), 'w'));
    fs.truncateSync(this.path(name), bytes);
    return this.path(name);
  }

  /** A loop device over a new file. */
  loop(name: string, bytes: number, blockSize = 512, ...options: string[]): string {
    const device = run('losetup', '--find', '--show', '--sector-size', String(blockSize), ...options, this.file(name, bytes));
    this.#cleanups.push(() => run('losetup', '--detach', device));
    return device;
  }

  mount(name: string, ...args: string[]): string {
    const where = this.path(name);
    fs.mkdirSync(where);
    run('mount', ...args, where);
    // A test may have detached the device itself. The kernel's threads release a file a moment after its last operation has
    // ended.
    const isUnmounted = (): boolean => {
      if (fs.statSync(where).dev === fs.statSync(this.folder).dev) return true;
      return spawnSync('umount', [where]).status === 0;
    };
    this.#cleanups.push(() => eventually(isUnmounted));
    return where;
  }

  open(options: Partial<LinuxBdevOptions> & { path: string }): Promise<Bdev> {
    return openLinuxBdev(this.registry, { name: 'd0', pollMs: 0, engine: this.engine, ...options });
  }

  client(bdev: Bdev, onEvent?: (event: BdevEvent) => void): BlockClient {
    return new BlockClient(this.registry.open(bdev, { writable: !bdev.isReadOnly, ...(onEvent ? { onEvent } : {}) }));
  }

  warnings(): string[] {
    return this.log.filter(({ level }) => level === 'warn').map(({ message }) => message);
  }

  /** Closes every device, as users that hear of the removal do. */
  async closeAll(): Promise<void> {
    for (const bdev of this.registry.list()) {
      if (bdev.state !== 'registered') continue;
      const removed = this.registry.unregister(bdev);
      for (const descriptor of [...bdev.descriptors]) descriptor.close();
      await removed;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeAll();
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
    fs.rmSync(this.folder, { recursive: true });
  }
}

export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

function has(command: string): boolean {
  try {
    run('sh', '-c', `command -v ${command}`);
    return true;
  } catch {
    return false;
  }
}

/** Whether a test with these needs runs here. On CI all must. */
export function can(...needs: ('loop' | 'mount' | 'strace')[]): boolean {
  const isRoot = process.getuid?.() === 0;
  const met = needs.every((need) => {
    if (need === 'strace') return has('strace');
    if (need === 'mount') return isRoot && has('mount') && has('mkfs.ext4');
    return isRoot && fs.existsSync('/dev/loop-control') && has('losetup') && has('addpart');
  });
  if (!met && process.env.CI !== undefined) throw new Error(`this machine lacks one of: ${needs.join(', ')}`);
  return met;
}

export function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 0xff);
}

export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  expect.fail(`bytes differ from offset ${at} on: ${actual[at]} instead of ${expected[at]}, of ${expected.length}`);
}

/** One raw request; resolves with its status. */
export function submitRaw(
  client: BlockClient,
  type: IoType,
  offsetBlocks: number,
  numBlocks: number,
  addr = -1,
  flags = 0,
): Promise<number> {
  const { ios } = client.descriptor.bdev.registry;
  return new Promise((resolve) => {
    const io = ios.get();
    const onIoDone = (done: BdevIo) => {
      const { status } = done;
      ios.put(done);
      resolve(status);
    };
    Object.assign(io, { type, flags, offsetBlocks, numBlocks, addr, owner: { onIoDone } });
    client.descriptor.submit(io);
  });
}

/** Waits for what comes through files and threads, at most some seconds. */
export async function eventually(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('it never came to hold');
}

/** A real engine whose results can be changed. */
export class FaultyEngine implements IoEngine {
  readonly name = 'faulty';
  readonly maxInFlightPerDevice: number;
  readonly canDeallocate = true;
  /** Most bytes that one read or write moves. */
  shortBytes = Infinity;
  /** Results for the next calls of a kind, in place of doing them. */
  readonly answers = new Map<string, number[]>();
  /** Holds calls back until `release`. */
  isHolding = false;
  readonly held: (() => void)[] = [];
  readonly calls: string[] = [];
  readonly #real: IoEngine;

  constructor(runtime: Runtime, maxInFlightPerDevice = 8) {
    this.#real = newEngine(runtime);
    this.maxInFlightPerDevice = maxInFlightPerDevice;
  }

  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#do('read', op, () => this.#real.read(fd, addr, Math.min(lengthBytes, this.shortBytes), offsetBytes, op));
  }

  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#do('write', op, () => this.#real.write(fd, addr, Math.min(lengthBytes, this.shortBytes), offsetBytes, op));
  }

  flush(fd: number, op: EngineOp): void {
    this.#do('flush', op, () => this.#real.flush(fd, op));
  }

  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#do('punchHole', op, () => this.#real.punchHole(fd, offsetBytes, lengthBytes, op));
  }

  writeZeroes(fd: number, isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#do('writeZeroes', op, () => this.#real.writeZeroes(fd, isBlockDevice, offsetBytes, lengthBytes, op));
  }

  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#do('discard', op, () => this.#real.discard(fd, offsetBytes, lengthBytes, op));
  }

  release(): void {
    this.isHolding = false;
    for (const start of this.held.splice(0)) start();
  }

  #do(kind: string, op: EngineOp, start: () => void): void {
    this.calls.push(kind);
    const answer = this.answers.get(kind)?.shift();
    const act = answer === undefined ? start : () => void setImmediate(() => op.onEngineDone(answer));
    if (this.isHolding) this.held.push(act);
    else act();
  }
}
