import * as fs from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setupFlagSets } from '../src/ring-setup.js';
import {
  FlockOperation,
  MessageFlag,
  RingOp,
  ShutdownHow,
  SocketFamily,
  loadSys,
  openRing,
  pollIn,
  readSocketAddress,
  ringFsyncDataSync,
} from '@raidkit/sys';
import type { Ring, RingFlush, RingOptions } from '@raidkit/sys';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const ENOENT = 2;
const EBADF = 9;
const EFAULT = 14;
const ECONNREFUSED = 111;
const EPIPE = 32;
const ETIME = 62;
const ECANCELED = 125;

let folder: string;
const sys = loadSys()!;
const rings: Ring[] = [];
const fds: number[] = [];

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'raidkit-ring-'));
});

afterEach(() => {
  for (const ring of rings.splice(0)) ring.close();
  for (const fd of fds.splice(0)) sys.close(fd);
  fs.rmSync(folder, { recursive: true });
});

/** A ring whose completions are collected by tag. */
class Bench {
  readonly ring: Ring;
  readonly results = new Map<number, number>();
  readonly owner: number;
  total = 0;

  constructor(options?: RingOptions) {
    const opened = openRing(options);
    if (opened.ring === null) throw new Error(opened.reason);
    this.ring = opened.ring;
    rings.push(this.ring);
    this.owner = this.ring.addOwner({
      onCompletion: (tag, result) => {
        this.results.set(tag, result);
        this.total++;
      },
    });
  }

  prepare(
    tag: number,
    op: RingOp,
    fd: number,
    fields: { offset?: number; addr?: number; length?: number; opFlags?: number } = {},
  ): void {
    const { offset = 0, addr = 0, length = 0, opFlags = 0 } = fields;
    this.ring.prepare(op, fd, offset, addr, length, opFlags, this.owner, tag);
  }

  wait(tag: number): number {
    for (;;) {
      this.ring.drain();
      const result = this.results.get(tag);
      if (result !== undefined) {
        this.results.delete(tag);
        return result;
      }
      this.ring.enter(1);
    }
  }

  /** Prepares an operation, and waits for its completion. */
  run(op: RingOp, fd: number, fields: Parameters<Bench['prepare']>[3] = {}): number {
    this.prepare(0, op, fd, fields);
    return this.wait(0);
  }
}

function file(bytes = 0): number {
  const fd = fs.openSync(join(folder, 'f'), fs.constants.O_RDWR | fs.constants.O_CREAT);
  fs.ftruncateSync(fd, bytes);
  fds.push(fd);
  return fd;
}

function pair(): [number, number] {
  const made = sys.sockets.pair();
  if (typeof made === 'number') throw new Error(`errno ${-made}`);
  fds.push(...made);
  return made;
}

function buffer(bytes: number, fill = 0): { bytes: Buffer; addr: number } {
  const view = Buffer.from(new ArrayBuffer(bytes)).fill(fill);
  return { bytes: view, addr: sys.addressOf(view) };
}

describe.each(setupFlagSets.map((_, firstFlagSet) => ({ firstFlagSet })))(
  'a ring from flag set $firstFlagSet on',
  ({ firstFlagSet }) => {
    it('reads, writes, syncs and makes holes in files, beyond 4 GiB too', () => {
      const bench = new Bench({ firstFlagSet });
      const fd = file();
      const data = buffer(8192, 0xab);
      const offset = 5 * 2 ** 30 + 4096;
      expect(bench.run(RingOp.WRITE, fd, { offset, addr: data.addr, length: 8192 })).toBe(8192);
      expect(bench.run(RingOp.FSYNC, fd, { opFlags: ringFsyncDataSync })).toBe(0);
      expect(fs.fstatSync(fd).size).toBe(offset + 8192);
      expect(bench.run(RingOp.FALLOCATE, fd, { offset, addr: 4096, length: 3 })).toBe(0);
      const read = buffer(8192, 1);
      expect(bench.run(RingOp.READ, fd, { offset, addr: read.addr, length: 8192 })).toBe(8192);
      expect(read.bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
      expect(read.bytes.subarray(4096).every((byte) => byte === 0xab)).toBe(true);
      expect(bench.run(RingOp.READ, -1, { addr: read.addr, length: 1 })).toBe(-EBADF);
    });

    it('is gone when it is closed, with what was in flight', async () => {
      const bench = new Bench({ firstFlagSet });
      const [mine, peer] = pair();
      const into = buffer(16);
      bench.prepare(1, RingOp.RECV, mine, { addr: into.addr, length: 16 });
      bench.ring.enter(0);
      bench.ring.close();
      fds.splice(fds.indexOf(mine), 1);
      sys.close(mine);
      await vi.waitFor(() => expect(sys.sockets.receive(peer, into.addr, 16, MessageFlag.DONT_WAIT)).toBe(0), 5000);
    });

    it('reads and writes files that the kernel holds, if it can, and lets go of them when told', () => {
      const bench = new Bench({ firstFlagSet });
      const fd = file(4096);
      const data = buffer(512, 0x11);
      const isHeld = bench.ring.registerFile(fd);
      expect(bench.run(RingOp.WRITE, fd, { addr: data.addr, length: 512 })).toBe(512);
      expect(bench.run(RingOp.FSYNC, fd)).toBe(0);
      expect(sys.flock(fd, FlockOperation.EXCLUSIVE | FlockOperation.NON_BLOCKING)).toBe(0);
      bench.ring.unregisterFile(fd);
      sys.close(fds.pop()!);
      // The number now means the file that is opened next, and the lock is gone with the old one.
      const other = fs.openSync(join(folder, 'other'), 'w+');
      expect(other).toBe(fd);
      fds.push(other);
      data.bytes.fill(0x22);
      expect(bench.run(RingOp.WRITE, other, { addr: data.addr, length: 512 })).toBe(512);
      expect(fs.readFileSync(join(folder, 'f'))[0]).toBe(0x11);
      expect(fs.readFileSync(join(folder, 'other'))[0]).toBe(0x22);
      const again = file(4096);
      expect(sys.flock(again, FlockOperation.EXCLUSIVE | FlockOperation.NON_BLOCKING)).toBe(0);
      expect(bench.ring.registerFile(1_000_000)).toBe(false);
      expect(bench.ring.registerFile(4000)).toBe(false);
      bench.ring.unregisterFile(4000);
      expect(bench.run(RingOp.READ, 4000, { addr: data.addr, length: 1 })).toBe(-EBADF);
      // With a file in the table the descriptor could be closed, and operations would still reach it.
      if (!isHeld) return;
      expect(bench.ring.registerFile(again)).toBe(true);
      sys.close(fds.pop()!);
      expect(bench.run(RingOp.WRITE, again, { addr: data.addr, length: 512 })).toBe(512);
      expect(fs.readFileSync(join(folder, 'f'))[0]).toBe(0x22);
    });

    it('reads and writes with buffers that the kernel knows, if it can', () => {
      const bench = new Bench({ firstFlagSet });
      const fd = file();
      const memory = buffer(16_384, 0xcd);
      const first = bench.ring.registerBuffer(memory.addr, 8192);
      const second = bench.ring.registerBuffer(memory.addr + 8192, 8192);
      expect([first, second]).toEqual([0, 1]);
      bench.ring.prepareFixed(RingOp.WRITE_FIXED, fd, 4096, memory.addr + 100, 5000, first, bench.owner, 1);
      expect(bench.wait(1)).toBe(5000);
      bench.ring.prepareFixed(RingOp.READ_FIXED, fd, 4000, memory.addr + 8192, 200, second, bench.owner, 2);
      expect(bench.wait(2)).toBe(200);
      expect(memory.bytes.subarray(8192, 8392)).toEqual(Buffer.concat([Buffer.alloc(96), Buffer.alloc(104, 0xcd)]));
      // The ranges are outside the buffer, and without one.
      bench.ring.prepareFixed(RingOp.READ_FIXED, fd, 0, memory.addr + 8192, 200, first, bench.owner, 3);
      expect(bench.wait(3)).toBe(-EFAULT);
      bench.ring.prepareFixed(RingOp.READ_FIXED, fd, 0, memory.addr, 200, 7, bench.owner, 4);
      expect(bench.wait(4)).toBe(-EFAULT);
      expect(bench.ring.registerBuffer(4096, 4096)).toBe(-EFAULT);
      expect(bench.ring.registerBuffer(memory.addr, 4096)).toBe(2);
    });

    it('sends and receives, polls, and ends operations that wait', () => {
      const bench = new Bench({ firstFlagSet });
      const [left, right] = pair();
      const data = buffer(100, 7);
      const into = buffer(100);
      bench.prepare(1, RingOp.RECV, right, { addr: into.addr, length: 100 });
      bench.prepare(2, RingOp.POLL_ADD, right, { opFlags: pollIn });
      bench.ring.enter(0);
      expect(bench.ring.drain()).toBe(0);
      expect(bench.run(RingOp.SEND, left, { addr: data.addr, length: 60, opFlags: MessageFlag.NO_SIGNAL })).toBe(60);
      expect(bench.wait(1)).toBe(60);
      expect(into.bytes.subarray(0, 60)).toEqual(data.bytes.subarray(0, 60));
      // The poll may or may not have seen the bytes before they were taken.
      bench.ring.cancel(bench.owner, 2, bench.owner, 3);
      expect([0, -ENOENT, -114]).toContain(bench.wait(3));
      expect([pollIn, -ECANCELED]).toContain(bench.wait(2));

      bench.prepare(4, RingOp.RECV, right, { addr: into.addr, length: 100 });
      bench.ring.cancel(bench.owner, 4, bench.owner, 5);
      expect(bench.wait(5)).toBe(0);
      expect(bench.wait(4)).toBe(-ECANCELED);
      bench.ring.cancel(bench.owner, 4, bench.owner, 6);
      expect(bench.wait(6)).toBe(-ENOENT);

      expect(sys.sockets.shutdown(right, ShutdownHow.BOTH)).toBe(0);
      expect(bench.run(RingOp.SEND, left, { addr: data.addr, length: 1, opFlags: MessageFlag.NO_SIGNAL })).toBe(-EPIPE);
      expect(bench.run(RingOp.RECV, left, { addr: into.addr, length: 1 })).toBe(0);
      expect(bench.ring.inFlight).toBe(0);
    });

    it.each([false, true])('receives what is there, and what comes, believed to be empty: %s', (isEmpty) => {
      const bench = new Bench({ firstFlagSet });
      const [left, right] = pair();
      const data = buffer(100, 7);
      const into = buffer(100);
      const receive = (tag: number) => bench.ring.receive(right, into.addr, 100, isEmpty, bench.owner, tag);
      const send = () => bench.run(RingOp.SEND, left, { addr: data.addr, length: 60, opFlags: MessageFlag.NO_SIGNAL });
      expect(send()).toBe(60);
      receive(1);
      expect(bench.wait(1)).toBe(60);
      receive(2);
      bench.ring.enter(0);
      expect(bench.ring.drain()).toBe(0);
      expect(send()).toBe(60);
      expect(bench.wait(2)).toBe(60);
      expect(sys.sockets.shutdown(left, ShutdownHow.BOTH)).toBe(0);
      receive(3);
      expect(bench.wait(3)).toBe(0);
    });

    it('sends what lies in several places in one go', () => {
      const bench = new Bench({ firstFlagSet });
      const [left, right] = pair();
      const data = buffer(100, 1);
      data.bytes.fill(2, 50);
      // struct msghdr at 0, then two struct iovec.
      const header = new BigUint64Array(new ArrayBuffer(128));
      const addr = sys.addressOf(header);
      header[2] = BigInt(addr + 64);
      header[3] = 2n;
      header.set([BigInt(data.addr + 50), 50n, BigInt(data.addr), 50n], 8);
      expect(bench.run(RingOp.SENDMSG, left, { addr, length: 1, opFlags: MessageFlag.WAIT_ALL | MessageFlag.NO_SIGNAL })).toBe(
        100,
      );
      const into = buffer(100);
      expect(sys.sockets.receive(right, into.addr, 100, MessageFlag.DONT_WAIT)).toBe(100);
      expect(into.bytes).toEqual(Buffer.concat([data.bytes.subarray(50), data.bytes.subarray(0, 50)]));
      expect(sys.sockets.receive(right, into.addr, 100, MessageFlag.DONT_WAIT)).toBe(-11);
    });

    it('waits for a time', () => {
      const bench = new Bench({ firstFlagSet });
      const start = performance.now();
      bench.ring.enter(1, 20.5);
      expect(performance.now() - start).toBeGreaterThan(19);
      expect(bench.ring.drain()).toBe(0);
      const time = new BigInt64Array(new ArrayBuffer(16));
      time[1] = 1_000_000n;
      expect(bench.run(RingOp.TIMEOUT, -1, { addr: sys.addressOf(time), length: 1 })).toBe(-ETIME);
    });

    it('takes more operations than fit, and loses none', () => {
      const bench = new Bench({ entries: 4, firstFlagSet });
      const fd = file(1 << 20);
      const into = buffer(512);
      const count = 1000;
      // 4 submissions and 32 completions fit; nothing is drained meanwhile.
      for (let tag = 0; tag < count; tag++)
        bench.prepare(tag, RingOp.READ, fd, { offset: tag * 512, addr: into.addr, length: 512 });
      expect(bench.ring.inFlight).toBe(count);
      while (bench.ring.inFlight > 0) {
        bench.ring.enter(1, 100);
        bench.ring.drain();
      }
      expect(bench.total).toBe(count);
      expect([...bench.results.values()].every((result) => result === 512)).toBe(true);
    });

    it('lets owners prepare from inside a completion', () => {
      const opened = openRing({ entries: 2, firstFlagSet });
      const ring = opened.ring!;
      rings.push(ring);
      const fd = file(4096);
      const into = buffer(512);
      let left = 500;
      let ended = 0;
      const start = (): void => {
        for (let i = 0; i < 3 && left > 0; i++, left--) ring.prepare(RingOp.READ, fd, 0, into.addr, 512, 0, owner, left);
      };
      const owner = ring.addOwner({
        onCompletion() {
          ended++;
          start();
        },
      });
      start();
      while (ring.inFlight > 0) {
        ring.enter(0);
        ring.drain();
      }
      expect(ended).toBe(500);
    });
  },
);

describe('a ring', () => {
  it('a socket can be asked whether the other end is gone, whatever is unread', () => {
    const { sockets } = sys;
    const [left, right] = pair();
    expect([sockets.isPeerGone(left), sockets.isPeerGone(right)]).toEqual([false, false]);
    expect(sockets.shutdown(right, ShutdownHow.READ)).toBe(0);
    expect([sockets.isPeerGone(left), sockets.isPeerGone(right)]).toEqual([true, false]);
    const [third, fourth] = pair();
    sys.close(fourth);
    fds.splice(fds.indexOf(fourth), 1);
    expect(sockets.isPeerGone(third)).toBe(true);
  });

  it('accepts connections and tells where they come from', async () => {
    const bench = new Bench();
    const { sockets } = sys;
    const listener = sockets.socket(SocketFamily.INET);
    fds.push(listener);
    expect(sockets.bind(listener, { family: 'IPv4', address: '127.0.0.1', port: 0 })).toBe(0);
    expect(sockets.listen(listener, 5)).toBe(0);
    const bound = sockets.addressOf(listener);
    if (typeof bound === 'number' || 'path' in bound) throw new Error('not an IP address');
    expect(bound).toMatchObject({ family: 'IPv4', address: '127.0.0.1' });
    const client = connect(bound.port, '127.0.0.1');
    await new Promise((resolve) => client.once('connect', resolve));
    const from = buffer(256);
    from.bytes.writeUInt32LE(128, 128);
    const fd = bench.run(RingOp.ACCEPT, listener, { addr: from.addr, offset: from.addr + 128 });
    expect(fd).toBeGreaterThan(0);
    expect(readSocketAddress(from.bytes)).toEqual({ family: 'IPv4', address: '127.0.0.1', port: client.localPort });
    fds.push(fd);
    client.destroy();
  });

  it('flushes once per request, and what is asked for meanwhile the next time', () => {
    const { ring } = new Bench();
    const calls: string[] = [];
    ring.flushLater({
      onFlush() {
        calls.push('a');
        ring.flushLater({ onFlush: () => void calls.push('b') });
      },
    });
    expect(ring.flush()).toBe(1);
    expect(calls).toEqual(['a']);
    expect(ring.flush()).toBe(1);
    expect(ring.flush()).toBe(0);
    expect(calls).toEqual(['a', 'b']);
  });

  it('calls who was put off after the batch that follows, behind those who asked for that one, or before a sleep', () => {
    const { ring } = new Bench();
    const calls: string[] = [];
    const call = (name: string): RingFlush => ({ onFlush: () => void calls.push(name) });
    ring.drain();
    ring.postpone(call('a'));
    ring.flush();
    expect(calls).toEqual([]);
    ring.drain();
    ring.flushLater(call('b'));
    expect(ring.flush()).toBe(1);
    expect(calls).toEqual(['b', 'a']);
    ring.postpone(call('c'));
    ring.flushPostponed();
    expect(calls).toEqual(['b', 'a', 'c']);
    ring.drain();
    expect(ring.flush()).toBe(0);
    expect(calls).toEqual(['b', 'a', 'c']);
  });

  it('knows what the kernel supports', () => {
    const { ring } = new Bench();
    expect(ring.supports(RingOp.READ)).toBe(true);
    expect(ring.supports(255 as RingOp)).toBe(false);
  });

  it('refuses work once it is closed', () => {
    const { ring } = new Bench();
    ring.close();
    ring.close();
    expect(() => ring.prepare(RingOp.READ, 0, 0, 0, 0, 0, 0, 0)).toThrow('closed');
    expect(ring.drain()).toBe(0);
  });

  it('says why there is none', async () => {
    vi.resetModules();
    vi.stubEnv('RAIDKIT_NO_FFI', '1');
    const fresh = await import('@raidkit/sys');
    expect(fresh.openRing()).toEqual({ ring: null, reason: 'RAIDKIT_NO_FFI is set' });
    vi.unstubAllEnvs();
    vi.resetModules();
  });

  it.each([
    [1, 'io_uring is not permitted'],
    [38, 'the kernel has no io_uring'],
    [12, 'not enough memory for io_uring'],
    [24, 'errno 24'],
  ])('is refused cleanly by a kernel that says errno %i', async (errno, reason) => {
    vi.resetModules();
    vi.doMock('../src/ffi.js', () => ({
      loadFfi: () => ({
        syscall: () => -errno,
        syscallAsync: () => undefined,
        addressOf: () => 0,
        viewOf: () => new ArrayBuffer(0),
      }),
    }));
    const fresh = await import('@raidkit/sys');
    expect(fresh.openRing().reason).toContain(reason);
    vi.doUnmock('../src/ffi.js');
    vi.resetModules();
  });
});

describe('sockets', () => {
  it.each(['::1', '::', '2001:db8::1:0:0:8', 'fe80::1'])('know the address %s', (address) => {
    const fd = sys.sockets.socket(SocketFamily.INET6);
    fds.push(fd);
    const result = sys.sockets.bind(fd, { family: 'IPv6', address, port: 0 });
    // Only addresses of this machine can be bound.
    if (address !== '::1' && address !== '::') expect([-99, -22]).toContain(result);
    else expect(sys.sockets.addressOf(fd)).toMatchObject({ family: 'IPv6', address });
  });

  it('know paths', () => {
    const fd = sys.sockets.socket(SocketFamily.UNIX);
    fds.push(fd);
    const path = join(folder, 'sock');
    expect(sys.sockets.bind(fd, { path })).toBe(0);
    expect(sys.sockets.addressOf(fd)).toEqual({ path });
    expect(fs.lstatSync(path).isSocket()).toBe(true);
    expect(sys.sockets.bind(-1, { path })).toBe(-EBADF);
    const client = sys.sockets.socket(SocketFamily.UNIX);
    expect(sys.sockets.connect(client, { path })).toBe(-ECONNREFUSED);
    expect(sys.sockets.listen(fd, 1)).toBe(0);
    expect(sys.sockets.connect(client, { path })).toBe(0);
    sys.close(client);
  });
});
