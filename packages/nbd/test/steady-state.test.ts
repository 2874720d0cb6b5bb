import { BdevRegistry } from '@raidkit/bdev';
import type { BdevIo, Runtime } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { NbdServer } from '../src/index.js';
import type { Transport } from '../src/index.js';
import type { NbdConnection } from '../src/server/connection.js';
import { cmd, goData, opt, optionBytes, requestBytes } from './client.js';
import type { Style } from './client.js';
import { MiB, addDevice, assertNoLeak, pattern } from './kit.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** A device that completes when it is told to. Keeps its list at full length: an array that is emptied is garbage. */
class Device {
  readonly #held: (BdevIo | null)[] = new Array<BdevIo | null>(64).fill(null);
  #count = 0;

  submit(io: BdevIo): void {
    this.#held[this.#count++] = io;
  }

  completeAll(): void {
    const count = this.#count;
    for (let i = 0; i < count; i++) this.#held[i]!.complete(0);
    // I/O that was submitted meanwhile comes next.
    for (let i = count; i < this.#count; i++) this.#held[i - count] = this.#held[i]!;
    this.#count -= count;
  }
}

/** Feeds bytes and throws replies away. */
class Sink implements Transport {
  connection!: NbdConnection;
  answeredBytes = 0;
  readonly #u8: Uint8Array;

  constructor(u8: Uint8Array) {
    this.#u8 = u8;
  }

  push(bytes: Uint8Array): void {
    const { connection } = this;
    for (let at = 0; at < bytes.length;) {
      const count = Math.min(connection.wantedBytes, bytes.length - at);
      if (count === 0) throw new Error('stalled');
      const addr = connection.inputAddr;
      for (let i = 0; i < count; i++) this.#u8[addr + i] = bytes[at + i]!;
      at += count;
      connection.received(count);
    }
  }

  drain(): void {
    const { sendQueue } = this.connection;
    for (let count = sendQueue.beginSend(64, MiB); count > 0; count = sendQueue.beginSend(64, MiB)) {
      for (let i = 0; i < count; i++) this.answeredBytes += sendQueue.rangeBytes(i);
      this.connection.sent();
    }
  }

  onOutput(): void {
    // The test drains the queue itself.
  }

  onInput(): void {
    // No input is ever held back here.
  }

  release(): never {
    throw new Error('there is no elsewhere');
  }

  startTls(): boolean {
    return false;
  }

  onFinish(): void {
    this.connection.closed();
  }

  onAbort(): void {
    throw new Error('aborted');
  }
}

it.each<Style>(['simple', 'structured', 'extended'])('requests with %s replies allocate nothing', async (style) => {
  const runtime: Runtime = { ...nodeRuntime({ memoryBytes: 32 * MiB }), now: () => 0 };
  const registry = new BdevRegistry(runtime);
  const { bdev, driver } = addDevice(registry);
  const device = new Device();
  driver.submit = (io) => device.submit(io);
  const server = new NbdServer({ registry, maxConnections: 4 });
  server.addExport({ name: 'disk', bdev });
  const sink = new Sink(registry.runtime.memory.u8);
  sink.connection = server.connect(sink, 'test', 'unix:/test') as NbdConnection;
  const option = { simple: 99, structured: opt.structuredReply, extended: opt.extendedHeaders }[style];
  sink.drain();
  for (const bytes of [Buffer.from([0, 0, 0, 3]), optionBytes(option), optionBytes(opt.go, goData('disk'))]) {
    sink.push(bytes);
    sink.drain();
  }
  const request = (command: number, offset: number, length: number, payload: Uint8Array = new Uint8Array(0)): Buffer => {
    const flags = style === 'extended' && command === cmd.write ? 32 : 0;
    return Buffer.concat([requestBytes(style, command, flags, 7n, offset, length), payload]);
  };
  const round = Buffer.concat([
    request(cmd.read, 4096, 4096),
    request(cmd.read, 100, 1000),
    request(cmd.write, 0, 512, pattern(512, 1)),
    request(cmd.write, 1000, 100, pattern(100, 1)),
    request(cmd.writeZeroes, 700, 4000),
    request(cmd.trim, 8192, 4096),
    request(cmd.flush, 0, 0),
    request(cmd.read, 2 ** 40, 512),
  ]);
  const requestsPerRound = 8;
  const run = (rounds: number): void => {
    for (let i = 0; i < rounds; i++) {
      sink.push(round);
      while (sink.connection.slots > 0) {
        device.completeAll();
        sink.drain();
      }
    }
  };

  run(10_000);
  const { requestObjects } = server.usage;
  const { made } = registry.ios;
  const rounds = 250;
  // Few enough requests that no collection falls into them, often enough that compiling does not matter.
  const bytesPerRequest = Array.from({ length: 25 }, () => {
    collect();
    const before = process.memoryUsage().heapUsed;
    run(rounds);
    return (process.memoryUsage().heapUsed - before) / (rounds * requestsPerRound);
  }).sort((a, b) => a - b);
  // The smallest object has 12 bytes, and a request that made one would make several.
  expect(bytesPerRequest[12]).toBeLessThan(12);
  expect(server.usage.requestObjects).toBe(requestObjects);
  expect(registry.ios.made).toBe(made);
  expect(sink.answeredBytes).toBeGreaterThan(10_000 * 5000);
  sink.connection.drain();
  await server.close();
  assertNoLeak({ registry, server });
});
