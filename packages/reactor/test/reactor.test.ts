import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Socket, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { RingOp, loadSys } from '@raidkit/sys';
import { openReactor } from '@raidkit/reactor';
import type { Reactor, ReactorOptions } from '@raidkit/reactor';
import { afterEach, describe, expect, it, vi } from 'vitest';

const sys = loadSys()!;
const reactors: Reactor[] = [];

afterEach(async () => {
  for (const reactor of reactors.splice(0)) await reactor.stop();
});

async function started(options: ReactorOptions = {}): Promise<Reactor> {
  const { reactor, reason } = await openReactor({ memoryBytes: 1 << 20, ...options });
  if (reactor === null) throw new Error(reason);
  reactors.push(reactor);
  reactor.start();
  return reactor;
}

/** A file operation as a promise, settled from inside a completion. */
function read(reactor: Reactor, fd: number, addr: number): Promise<number> {
  return new Promise((resolve) => {
    const owner = reactor.ring.addOwner({
      onCompletion(_tag, result) {
        reactor.ring.removeOwner(owner);
        resolve(result);
      },
    });
    reactor.ring.prepare(RingOp.READ, fd, 0, sys.addressOf(reactor.runtime.memory.u8) + addr, 512, 0, owner, 0);
  });
}

describe.each([0, 100])('a reactor that spins for %i µs', (spinMicroseconds) => {
  it('runs what was put off in order, later, and what that puts off later still', async () => {
    const { runtime } = await started({ spinMicroseconds });
    const calls: string[] = [];
    await new Promise<void>((resolve) => {
      runtime.soon(() => {
        calls.push('a');
        runtime.soon(() => {
          calls.push('c');
          resolve();
        });
      });
      runtime.soon(() => void calls.push('b'));
      calls.push('first');
    });
    expect(calls).toEqual(['first', 'a', 'b', 'c']);
  });

  it('does what was postponed before it sleeps', async () => {
    const { ring, runtime } = await started({ spinMicroseconds });
    const file = openSync('/dev/zero', 'r');
    const enters = await new Promise<number>((resolve) => {
      const owner = ring.addOwner({
        onCompletion() {
          const before = ring.enters;
          ring.postpone({ onFlush: () => resolve(ring.enters - before) });
        },
      });
      ring.prepare(RingOp.READ, file, 0, sys.addressOf(runtime.memory.u8), 512, 0, owner, 0);
    });
    closeSync(file);
    // While it spins, other prepared operations are submitted first.
    expect(enters).toBeLessThanOrEqual(spinMicroseconds === 0 ? 0 : 1);
  });

  it('goes on with operations while the event loop is never out of work', async () => {
    const reactor = await started({ spinMicroseconds });
    const file = openSync('/dev/zero', 'r');
    let isOver = false;
    const again = (): void => {
      if (!isOver) setImmediate(again);
    };
    again();
    try {
      for (let i = 0; i < 5; i++) {
        // Waits until nothing has been done for a while.
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(await read(reactor, file, 0)).toBe(512);
      }
    } finally {
      isOver = true;
      closeSync(file);
    }
  });

  it('fires timers in the order of their times, and cancelled ones not', async () => {
    const { runtime } = await started({ spinMicroseconds });
    const fired: number[] = [];
    const start = runtime.now();
    const cancelled = runtime.setTimer(() => void fired.push(0), 5);
    await new Promise<void>((resolve) => {
      for (const ms of [30, 10, 20]) {
        runtime.setTimer(() => {
          fired.push(ms);
          if (fired.length === 3) resolve();
        }, ms);
      }
      runtime.clearTimer(cancelled);
    });
    expect(fired).toEqual([10, 20, 30]);
    expect(runtime.now() - start).toBeGreaterThanOrEqual(30);
    expect(runtime.wallClock()).toBeGreaterThan(1.7e12);
    expect(runtime.randomBytes(16)).toHaveLength(16);
  });

  it('goes on with promise code that waits for completions', async () => {
    const reactor = await started({ spinMicroseconds });
    const fd = openSync('/proc/self/exe', 'r');
    const addr = reactor.runtime.memory.allocRegion(4096);
    for (let i = 0; i < 200; i++) expect(await read(reactor, fd, addr)).toBe(512);
    expect(Buffer.from(reactor.runtime.memory.buffer, addr + 1, 3).toString()).toBe('ELF');
    sys.close(fd);
  });

  it("leaves Node's files, sockets, timers, immediates and processes as they are", async () => {
    await started({ spinMicroseconds });
    const folder = mkdtempSync(join(tmpdir(), 'reactor-'));
    const path = join(folder, 's');
    writeFileSync(join(folder, 'f'), 'text');
    const server = createServer((socket) => void socket.pipe(socket));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    for (let i = 0; i < 20; i++) {
      expect(await readFile(join(folder, 'f'), 'utf8')).toBe('text');
      await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setImmediate(resolve));
      const socket = connect(path);
      const echoed = new Promise((resolve) => socket.once('data', (bytes) => resolve(bytes.toString())));
      socket.write('hello');
      expect(await echoed).toBe('hello');
      socket.destroy();
    }
    server.close();
    rmSync(folder, { recursive: true });
  });
});

describe('an idle reactor', () => {
  function watched(onData: () => void): { write: number; socket: Socket } {
    const pair = sys.sockets.pair();
    if (typeof pair === 'number') throw new Error(`socketpair: ${pair}`);
    const socket = new Socket({ fd: pair[0], readable: true, writable: true });
    socket.on('data', onData).on('error', () => undefined);
    return { write: pair[1], socket };
  }

  /**
   * Writes to a descriptor once this thread is asleep, from another thread: a timer would keep this one awake. Then the other
   * thread waits to be terminated, since its end would wake this one again.
   */
  function writeFromAside(fd: number): Worker {
    const code = `
      const { writeSync } = require('node:fs');
      const cell = new Int32Array(new SharedArrayBuffer(4));
      Atomics.wait(cell, 0, 0, 200);
      writeSync(${fd}, 'x');
      Atomics.wait(cell, 0, 0);
    `;
    return new Worker(code, { eval: true });
  }

  // A turn that the reactor owes has begun each of them: nothing in the ring says that they are there.
  it.each([
    [
      'a descriptor that Node has begun to watch',
      (done: () => void, sockets: ReturnType<typeof watched>[]) => {
        const third = watched(done);
        sockets.push(third);
        writeSync(third.write, 'x');
      },
    ],
    ['an immediate that keeps nothing alive', (done: () => void) => void setImmediate(done).unref()],
    ['a timer that keeps nothing alive', (done: () => void) => void setTimeout(done, 20).unref()],
  ])(
    'sees %s in the last turn before it slept',
    async (_what, begin) => {
      await started();
      const sockets: ReturnType<typeof watched>[] = [];
      let other: Worker | undefined;
      await new Promise<void>((resolve) => {
        const second = watched(() => begin(resolve, sockets));
        const first = watched(() => void writeSync(second.write, 'x'));
        sockets.push(first, second);
        other = writeFromAside(first.write);
      });
      await other?.terminate();
      for (const { socket, write } of sockets) {
        socket.destroy();
        sys.close(write);
      }
    },
    // Without this rule it takes up to 16 s.
    8000,
  );
});

describe('a reactor', () => {
  it('goes on after something in it has thrown', async () => {
    const { runtime } = await started();
    const caught = new Promise((resolve) => {
      const others = process.listeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.once('uncaughtException', (error) => {
        for (const other of others) process.on('uncaughtException', other);
        resolve(error);
      });
    });
    const after = new Promise((resolve) => {
      runtime.soon(() => {
        throw new Error('a fault');
      });
      runtime.soon(() => resolve('after'));
    });
    expect(await caught).toEqual(new Error('a fault'));
    expect(await after).toBe('after');
  });

  it('can be had again after it has stopped', async () => {
    const first = await started();
    await first.stop();
    await first.stop();
    expect(() => first.ring.prepare(RingOp.READ, 0, 0, 0, 0, 0, 0, 0)).toThrow('closed');
    const second = await started();
    await new Promise<void>((resolve) => second.runtime.soon(resolve));
  });

  it('says why there is none', async () => {
    vi.resetModules();
    vi.stubEnv('RAIDKIT_NO_FFI', '1');
    const fresh = await import('@raidkit/reactor');
    expect(await fresh.openReactor()).toEqual({ reactor: null, reason: 'RAIDKIT_NO_FFI is set' });
    vi.unstubAllEnvs();
    vi.resetModules();
  });
});
