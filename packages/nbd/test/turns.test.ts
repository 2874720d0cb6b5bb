import { BdevRegistry, IoType, Status } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { describe, expect, it } from 'vitest';
import { NbdServer } from '../src/index.js';
import { ConnectionTurn, Turns } from '../src/transmission/turns.js';
import { cmd, requestBytes } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, pattern, turns as realTurns } from './kit.js';
import { connectWire } from './wire.js';

/** A thread whose turns the test takes. */
class Thread {
  at = 100;
  #soon: (() => void)[] = [];
  readonly turns = new Turns({ now: () => this.at, soon: (fn) => this.#soon.push(fn) });

  /** Work that was deferred before is done now. */
  next(): void {
    this.at += 0.01;
    for (const fn of this.#soon.splice(0)) fn();
  }
}

/** A connection that begins all that it has, as far as it may. */
class Client {
  readonly turn: ConnectionTurn;
  left: number;
  begun = 0;
  readonly #bytes: number;

  constructor(turns: Turns, requests: number, bytes = 0) {
    this.turn = new ConnectionTurn(turns, () => this.work());
    this.left = requests;
    this.#bytes = bytes;
  }

  work(): void {
    while (this.left > 0 && this.turn.mayBegin()) {
      this.left--;
      this.begun++;
      this.turn.begun(this.#bytes);
    }
  }
}

describe('turns', () => {
  it('leave a connection alone that is the only busy one', () => {
    const { turns } = new Thread();
    const client = new Client(turns, 1000);
    client.work();
    expect(client.begun).toBe(1000);
  });

  it('are shared by busy ones, each of which gets through', () => {
    const thread = new Thread();
    const clients = Array.from({ length: 8 }, () => new Client(thread.turns, 100));
    for (const client of clients) client.work();
    // They were not known to be busy before the first of them had begun.
    for (const client of clients.slice(1)) expect(client.begun).toBeLessThanOrEqual(32);
    const before = clients.map(({ begun }) => begun);
    thread.next();
    // Operations that were submitted in between come first.
    expect(clients.map(({ begun }) => begun)).toEqual(before);
    thread.next();
    for (const [index, client] of clients.entries()) expect(client.begun - (before[index] ?? 0)).toBeLessThanOrEqual(8);
    for (let turn = 0; turn < 100; turn++) thread.next();
    expect(clients.map(({ left }) => left)).toEqual(clients.map(() => 0));
  });

  it('count bytes too, and let every client begin something', () => {
    const thread = new Thread();
    const clients = Array.from({ length: 40 }, () => new Client(thread.turns, 10, 128 * 1024));
    for (const client of clients) client.work();
    const last = clients.slice(20);
    expect(last.map(({ begun }) => begun)).toEqual(last.map(() => 1));
    for (let turn = 0; turn < 40; turn++) thread.next();
    expect(clients.map(({ left }) => left)).toEqual(clients.map(() => 0));
  });

  it('forget who has been idle', () => {
    const thread = new Thread();
    const first = new Client(thread.turns, 1);
    const second = new Client(thread.turns, 1);
    first.work();
    second.work();
    thread.at += 50;
    first.left = 1000;
    first.work();
    expect(first.begun).toBe(1001);
  });
});

describe('a connection that was put off', () => {
  it('begins nothing more when it has been dropped meanwhile', async () => {
    let at = 100;
    const runtime = { ...nodeRuntime({ memoryBytes: 64 * MiB }), now: () => at };
    const registry = new BdevRegistry(runtime);
    const { bdev, driver } = addDevice(registry);
    const server = new NbdServer({ registry, maxConnections: 8 });
    server.addExport({ name: 'disk', bdev, isDefault: true });
    const memory = runtime.memory.u8;
    const other = connectWire(server, { memory });
    await other.client.open('disk', 'simple');
    const wire = connectWire(server, { memory, isGreedy: true, closesLate: true });
    await wire.client.open('disk', 'simple');
    driver.isHolding = true;
    // Both are busy, so that the second one's share is half a turn: the write behind its flushes is deferred.
    const reply = other.client.pread(0, 512);
    const flushes = Array.from({ length: 32 }, (_, index) => requestBytes('simple', cmd.flush, 0, BigInt(index), 0, 0));
    wire.push(Buffer.concat([...flushes, requestBytes('simple', cmd.write, 0, 99n, 0, 2 * KiB), pattern(2 * KiB, 1)]));
    expect(driver.held).toHaveLength(33);
    wire.connection.abort('it is in the way');
    expect(wire.isAborted).toBe(true);
    at++;
    await realTurns();
    for (const io of driver.held.splice(0)) io.complete(Status.Ok);
    await realTurns();
    expect(driver.calls.filter(({ type }) => type === IoType.Write)).toEqual([]);
    driver.letGo();
    wire.hangUp();
    expect((await reply).errno).toBe(0);
    await server.close();
    assertNoLeak({ registry, server });
  });
});
