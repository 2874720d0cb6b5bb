import { IoType, Status } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { cmd } from './client.js';
import type { TestClient } from './client.js';
import { assertNoLeak, expectBytes, newRig, pattern, turns, until } from './kit.js';
import type { Rig } from './kit.js';
import { connectWire } from './wire.js';

const EIO = 5;
let rig: Rig;

async function open(): Promise<TestClient> {
  rig = newRig();
  const { client } = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
  await client.open('disk', 'structured');
  return client;
}

afterEach(async () => {
  await rig.server.close();
  assertNoLeak(rig);
});

/**
 * I/Os of this type time out, `times` times for each place; as the bdev layer does it, their memory is pinned until `release`.
 * Tells where in memory each try was.
 */
function timeOut(type: IoType, times: number): { addrs: Map<number, number[]>; release: () => void } {
  const { memory } = rig.registry.runtime;
  const addrs = new Map<number, number[]>();
  const pinned: number[] = [];
  rig.driver.fault = (io) => {
    if (io.type !== type) return Status.Ok;
    const tries = addrs.get(io.offsetBlocks) ?? [];
    addrs.set(io.offsetBlocks, [...tries, io.addr]);
    if (tries.length >= times) return Status.Ok;
    if (io.addr >= 0) {
      memory.pin(io.addr);
      pinned.push(io.addr);
    }
    return Status.TimedOut;
  };
  return {
    addrs,
    release() {
      for (const addr of pinned.splice(0)) memory.unpin(addr);
    },
  };
}

describe('what times out', () => {
  it.each([
    ['small', 4096, 4096],
    ['inside blocks', 100, 1000],
    ['in pieces', 512, 1024 * 1024 - 1024],
  ])('is read again, into another buffer: %s', async (_name, offset, length) => {
    const client = await open();
    const data = pattern(1024 * 1024, 1);
    data.copy(rig.driver.bytes);
    const { addrs, release } = timeOut(IoType.Read, 1);
    const { errno, data: got } = await client.pread(offset, length);
    expect(errno).toBe(0);
    expectBytes(got, data.subarray(offset, offset + length));
    for (const [first, second] of addrs.values()) expect(second).not.toBe(first);
    expect(addrs.size).toBeGreaterThan(0);
    release();
  });

  it('is written again from where it lies; the edges of what is smaller than blocks are read into another buffer', async () => {
    const client = await open();
    const old = pattern(1024 * 1024, 1);
    const fresh = pattern(3000, 2);
    old.copy(rig.driver.bytes);
    const writes = timeOut(IoType.Write, 1);
    expect((await client.pwrite(8192, fresh.subarray(0, 2048))).errno).toBe(0);
    expectBytes(rig.driver.bytes.subarray(8192, 10_240), fresh.subarray(0, 2048));
    expect([...writes.addrs.values()].map(([first, second]) => first === second)).toEqual([true]);
    writes.release();
    const reads = timeOut(IoType.Read, 1);
    expect((await client.pwrite(20_100, fresh)).errno).toBe(0);
    const expected = Buffer.concat([old.subarray(19_968, 20_100), fresh, old.subarray(23_100, 24_064)]);
    expectBytes(rig.driver.bytes.subarray(19_968, 24_064), expected);
    expect(reads.addrs.size).toBe(2);
    for (const [first, second] of reads.addrs.values()) expect(second).not.toBe(first);
    reads.release();
  });

  it.each([
    [cmd.flush, IoType.Flush, 0, 0],
    [cmd.trim, IoType.Unmap, 4096, 4096],
    [cmd.writeZeroes, IoType.WriteZeroes, 4096, 4096],
    [cmd.writeZeroes, IoType.Read, 4000, 5000],
    [cmd.writeZeroes, IoType.Write, 4000, 5000],
  ])('is done again: command %i, I/O type %i', async (command, type, offset, length) => {
    const client = await open();
    const old = pattern(1024 * 1024, 1);
    old.copy(rig.driver.bytes);
    // Each request is tried once more: if both edges fail, the second failure is an error.
    const { addrs, release } = timeOut(type, 1);
    const isAtBothEdges = length === 5000;
    const { errno } = await client.request(command, offset, isAtBothEdges ? 4 * 512 - (offset % 512) : length);
    expect(errno).toBe(0);
    expect([...addrs.values()].map((tries) => tries.length)).toEqual([2]);
    if (command !== cmd.flush) expectBytes(rig.driver.bytes.subarray(4096, 5632), Buffer.alloc(1536));
    release();
  });

  it.each([
    [cmd.read, IoType.Read],
    [cmd.flush, IoType.Flush],
    [cmd.trim, IoType.Unmap],
  ])('a second time is an error: command %i', async (command, type) => {
    const client = await open();
    const { addrs, release } = timeOut(type, 2);
    expect((await client.request(command, command === cmd.flush ? 0 : 4096, command === cmd.flush ? 0 : 512)).errno).toBe(EIO);
    expect([...addrs.values()].map((tries) => tries.length)).toEqual([2]);
    release();
  });

  it('waits for another buffer if there is none', async () => {
    const client = await open();
    const { buffers } = rig.registry;
    const taken: number[] = [];
    const { addrs, release } = timeOut(IoType.Read, 1);
    const { fault } = rig.driver;
    rig.driver.fault = (io) => {
      for (let addr = buffers.get(1); addr >= 0; addr = buffers.get(1)) taken.push(addr);
      return fault(io);
    };
    const reply = client.pread(0, 4096);
    await until(() => addrs.size > 0, 'the read was tried');
    await turns();
    expect(addrs.get(0)).toHaveLength(1);
    rig.driver.fault = fault;
    const own = taken.pop()!;
    buffers.put(own);
    expect((await reply).errno).toBe(0);
    expect(addrs.get(0)?.[1]).toBe(own);
    for (const addr of taken) buffers.put(addr);
    release();
  });
});
