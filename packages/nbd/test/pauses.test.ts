import type { LookClock } from '@raidkit/bdev';
import { afterEach, describe, expect, it } from 'vitest';
import { cmd, requestBytes } from './client.js';
import { KiB, assertNoLeak, newRig, turns, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

// The process does not run for a while: it is stopped, or its machine is paused. Clients have not taken longer for that.

/** A clock that the test moves, on which timers fire at their time or late. */
class HandClock implements LookClock {
  #now = 1000;
  readonly #timers = new Set<{ fn: () => void; at: number }>();

  now = (): number => this.#now;

  setWatchTimer = (fn: () => void, ms: number): object => {
    const timer = { fn, at: this.#now + ms };
    this.#timers.add(timer);
    return timer;
  };

  clearTimer = (timer: object): void => {
    for (const one of this.#timers) if (one === timer) this.#timers.delete(one);
  };

  /** The process runs: each timer fires at its time. */
  run(ms: number): void {
    const end = this.#now + ms;
    for (let next = this.#due(end); next !== undefined; next = this.#due(end)) {
      this.#now = Math.max(this.#now, next.at);
      this.#fire(next);
    }
    this.#now = end;
  }

  /** The process is stopped, and then all timers that are due fire at once. */
  stop(ms: number): void {
    this.#now += ms;
    const now = this.#now;
    for (let next = this.#due(now); next !== undefined; next = this.#due(now)) this.#fire(next);
  }

  #due(until: number): { fn: () => void; at: number } | undefined {
    return [...this.#timers].filter(({ at }) => at <= until).sort((one, other) => one.at - other.at)[0];
  }

  #fire(timer: { fn: () => void; at: number }): void {
    this.#timers.delete(timer);
    timer.fn();
  }
}

const hourMs = 3_600_000;
let rig: Rig;
let clock: HandClock;

function begin(options: RigOptions = {}): void {
  clock = new HandClock();
  rig = newRig({ ...options, clock });
}

function connect(): Wire {
  return connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
}

afterEach(async () => {
  await rig.server.close();
  assertNoLeak(rig);
});

describe.each([hourMs, 3000])('%i ms in which the process does not run', (pauseMs) => {
  it('do not count in a handshake', async () => {
    begin();
    const slow = connect();
    const idle = connect();
    clock.run(7900);
    clock.stop(pauseMs);
    // There are 2.1 s left. Of them the time until the next look may count, because the process may have run until then.
    clock.run(1400);
    expect([slow.isAborted, idle.isAborted]).toEqual([false, false]);
    await slow.client.open();
    clock.run(1300);
    expect([slow.isAborted, idle.isAborted]).toEqual([false, true]);
  });

  it('do not count in a handshake where all other limits are long', () => {
    begin({ server: { stallTimeoutMs: hourMs } });
    const slow = connect();
    clock.run(5500);
    clock.stop(pauseMs);
    clock.run(3900);
    expect(slow.isAborted).toBe(false);
    clock.run(1500);
    expect(slow.isAborted).toBe(true);
  });

  it('do not count as idle', async () => {
    begin({ server: { idleTimeoutMs: 20_000 } });
    const { client, ...wire } = connect();
    await client.open();
    clock.run(10_000);
    await client.pread(0, 512);
    clock.run(15_000);
    clock.stop(pauseMs);
    clock.run(4300);
    expect(rig.server.connectionCount).toBe(1);
    expect((await client.pread(0, 512)).errno).toBe(0);
    clock.run(19_000);
    expect(rig.server.connectionCount).toBe(1);
    clock.run(3000);
    expect(rig.server.connectionCount).toBe(0);
    expect(wire.isFinished).toBe(false);
  });

  it('do not count for a client that holds memory others wait for', async () => {
    begin({ memoryBytes: 16 << 20, server: { maxConnections: 16 } });
    const lazies = Array.from({ length: 6 }, connect);
    for (const lazy of lazies) {
      await lazy.client.open();
      lazy.isReading = false;
      for (let i = 0; i < 200; i++) lazy.push(requestBytes('structured', cmd.read, 0, 1n, 0, 60 * KiB));
    }
    const { client } = connect();
    await client.open();
    const waiting = Array.from({ length: 5 }, () => client.pread(0, 64 * KiB));
    await turns();
    // They are over their share of the memory, for which the limit is 2 s from the first look on, which is at 0.6 s. The look
    // that is late is put off for a second.
    clock.run(700);
    clock.stop(pauseMs);
    clock.run(1100);
    expect(lazies.some(({ isAborted }) => isAborted)).toBe(false);
    clock.run(3000);
    expect(lazies.some(({ isAborted }) => isAborted)).toBe(true);
    for (const { errno } of await Promise.all(waiting)) expect(errno).toBe(0);
    for (const lazy of lazies) lazy.hangUp();
  });
});

it('last replies can be read for a second after a time in which the process did not run', async () => {
  begin();
  const [reader, lazy] = [connect(), connect()];
  for (const wire of [reader, lazy]) {
    await wire.client.open();
    wire.isReading = false;
    wire.push(requestBytes('structured', cmd.read, 0, 1n, 0, 60 * KiB));
  }
  await until(() => rig.server.usage.bytes > 0, 'replies wait');
  const closed = rig.server.close();
  await turns();
  clock.stop(hourMs);
  expect([reader.isAborted, lazy.isAborted]).toEqual([false, false]);
  clock.run(1100);
  expect(lazy.isAborted).toBe(true);
  await closed;
});

it('a process that always runs late ends a handshake all the same', async () => {
  begin();
  const idle = connect();
  for (let i = 0; i < 100 && !idle.isAborted; i++) {
    clock.stop(1500);
    await turns(1);
  }
  expect(idle.isAborted).toBe(true);
});
