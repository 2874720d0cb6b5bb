import { BdevRegistry } from '@raidkit/bdev';
import { openReactor } from '@raidkit/reactor';
import type { Reactor } from '@raidkit/reactor';
import { RingOp } from '@raidkit/sys';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { RingNbdServer } from '../src/index.js';
import { cmd, requestBytes } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, expectBytes, pattern, until } from './kit.js';
import { connectSocket } from './socket-client.js';

// Tests of what is special about sockets on a ring. The other files test everything else with RAIDKIT_ENGINE=uring.

let folder: string;
let reactor: Reactor;
let registry: BdevRegistry;
let server: RingNbdServer;
const sockets: Socket[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nbd-ring-'));
  const opened = await openReactor({ memoryBytes: 64 * MiB });
  if (opened.reactor === null) throw new Error(opened.reason);
  ({ reactor } = opened);
  reactor.start();
  registry = new BdevRegistry(reactor.runtime);
  server = new RingNbdServer({ registry, ring: reactor.ring, maxConnections: 64 });
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.close();
  assertNoLeak({ registry, server });
  await reactor.stop();
  rmSync(folder, { recursive: true });
});

it('a buffer that is being received into has no other user until the kernel is done with it', async () => {
  const { bdev } = addDevice(registry, { numBlocks: 4096 });
  server.addExport({ name: 'disk', bdev, isDefault: true });
  const { address } = await server.listen({ unix: join(folder, 's') });
  const { client, socket } = await connectSocket(address);
  sockets.push(socket);
  await client.open();
  client.send(requestBytes('structured', cmd.write, 0, 1n, 0, 256 * KiB));
  client.send(Buffer.alloc(100 * KiB, 0xaa));
  await until(() => server.usage.bytes > 0, 'the payload is being received');
  await new Promise((resolve) => setTimeout(resolve, 20));

  // These bytes are in the socket before the export goes; the ring fetches them after it, for a receive that is under way.
  client.send(Buffer.alloc(64 * KiB, 0xaa));
  const removed = server.removeExport('disk');
  const taken: number[] = [];
  const { buffers, memory } = { buffers: registry.buffers, memory: registry.runtime.memory };
  for (let addr = buffers.get(1); addr >= 0; addr = buffers.get(1)) {
    taken.push(addr);
    memory.u8.fill(0x55, addr, addr + buffers.slotBytesOf(addr));
  }
  await removed;
  await until(() => server.connectionCount === 0, 'the connection is gone');
  const touched = taken.filter(
    (addr) => !memory.u8.subarray(addr, addr + buffers.slotBytesOf(addr)).every((byte) => byte === 0x55),
  );
  expect(touched).toEqual([]);
  // The buffer that was held back is available again.
  const late = buffers.get(256 * KiB);
  expect(late).toBeGreaterThan(0);
  for (const addr of [...taken, late]) buffers.put(addr);
});

it('replies that do not fit into the socket at once arrive whole, with many in one send', async () => {
  const { bdev, driver } = addDevice(registry, { numBlocks: 32_768 });
  const data = pattern(driver.bytes.length, 3);
  data.copy(driver.bytes);
  server.addExport({ name: 'disk', bdev, isDefault: true });
  for (const where of [{ unix: join(folder, 's') }, { host: '127.0.0.1', port: 0 }]) {
    const { address } = await server.listen(where);
    const { client, socket } = await connectSocket(address);
    sockets.push(socket);
    await client.open();
    socket.pause();
    const reads = Array.from({ length: 200 }, (_, i) => ({ at: i * 70_001, length: i % 3 === 0 ? 17 : 90_000 + i }));
    const replies = reads.map(({ at, length }) => client.pread(at, length));
    await new Promise((resolve) => setTimeout(resolve, 20));
    socket.resume();
    for (const [i, { errno, data: got }] of (await Promise.all(replies)).entries()) {
      const { at, length } = reads[i]!;
      expect(errno).toBe(0);
      expectBytes(got, data.subarray(at, at + length));
    }
  }
});

it('writes of all sizes, in one go and one behind the other, get where they belong', async () => {
  const { bdev, driver } = addDevice(registry, { numBlocks: 32_768 });
  server.addExport({ name: 'disk', bdev, isDefault: true });
  const { address } = await server.listen({ unix: join(folder, 's') });
  const { client, socket } = await connectSocket(address);
  sockets.push(socket);
  await client.open();
  // Small ones come in many at a time; a large one straight into its buffer, after its header; and whatever follows it is either.
  const sizes = [512, 4096, 64 * KiB, 100_000, 17, 32 * KiB, 32 * KiB - 1, 300 * KiB, 4096, 4096, 2 * MiB, 1];
  const expected = Buffer.from(driver.bytes);
  const writes: Promise<{ errno: number }>[] = [];
  let at = 3;
  for (let i = 0; i < 60; i++) {
    const data = pattern(sizes[i % sizes.length]!, i + 1);
    if (at + data.length > expected.length) break;
    data.copy(expected, at);
    writes.push(client.pwrite(at, data));
    if (i % 7 === 0) writes.push(client.request(cmd.flush, 0, 0));
    at += data.length + (i % 3) * 100;
  }
  expect((await Promise.all(writes)).every(({ errno }) => errno === 0)).toBe(true);
  expect(writes.length).toBeGreaterThan(40);
  expectBytes(driver.bytes, expected);
  const { errno, data } = await client.pread(0, 8 * MiB);
  expect(errno).toBe(0);
  expectBytes(data, expected.subarray(0, data.length));
});

it('clients that have hung up before they are accepted are closed, and nothing else is done for them', async () => {
  const { bdev } = addDevice(registry);
  server.addExport({ name: 'disk', bdev, isDefault: true });
  const { address } = await server.listen({ unix: join(folder, 's') });
  const prepare = vi.spyOn(reactor.ring, 'prepare');
  // The server is of this thread: it accepts none of them before this loop is over.
  for (let i = 0; i < 600; i++) connect(join(folder, 's')).destroy();
  const { client, socket } = await connectSocket(address);
  sockets.push(socket);
  await client.open();
  const ops = prepare.mock.calls.map(([op]) => op);
  expect(ops.filter((op) => op === RingOp.ACCEPT).length).toBeGreaterThan(600);
  // The greeting, what the client answers, and what is answered to that: all of the one client that is there.
  expect(ops.filter((op) => op === RingOp.SEND || op === RingOp.RECV).length).toBeLessThan(20);
});
