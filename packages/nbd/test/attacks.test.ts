import { IoType, noRateLimits } from '@raidkit/bdev';
import { LogLimit } from '../src/index.js';
import { NbdConnection } from '../src/server/connection.js';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { cmd, opt, optionBytes, requestBytes } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, newRig, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

// These tests are attacks of clients on other clients. In each of them another client must not be affected.

let rig: Rig;
/** Clients whose transports stay open until the end of the test, unless they hang up. */
let late: Wire[] = [];

function begin(options: RigOptions = {}): void {
  rig = newRig(options);
}

function connect(peer = 'unix', closesLate = false): Wire {
  return connectWire(rig.server, { memory: rig.registry.runtime.memory.u8, peer, closesLate });
}

/** Has `count` clients connect at the same moment and returns those that are let in. Their transports close late. */
function connectMany(count: number, peerOf: (i: number) => string, afterMs = 0): Wire[] {
  const accepted: Wire[] = [];
  const { runtime } = rig.registry;
  const clock = vi.spyOn(runtime, 'now').mockReturnValue(runtime.now() + afterMs);
  for (let i = 0; i < count; i++) {
    try {
      accepted.push(connect(peerOf(i), true));
    } catch {
      // Turned away.
    }
  }
  clock.mockRestore();
  late.push(...accepted);
  return accepted;
}

async function open(name = 'disk', peer = 'unix'): Promise<Wire> {
  const wire = connect(peer);
  await wire.client.open(name);
  return wire;
}

afterEach(async () => {
  rig.driver.letGo();
  for (const wire of late) wire.hangUp();
  late = [];
  await rig.server.close();
  assertNoLeak(rig);
});

/** Steps of trim and write zeroes that the device has. */
function heldSteps(): number {
  return rig.driver.held.filter(({ type }) => type === IoType.WriteZeroes || type === IoType.Unmap).length;
}

describe('a client that has its export zeroed', () => {
  const GiB = 1024 * MiB;

  async function beginZeroing(command: number, requests: number): Promise<Wire> {
    begin({ device: { blockSize: 4096, numBlocks: 256 } });
    rig.bdev.resize((8 * GiB) / 4096);
    const wire = await open();
    rig.driver.isHolding = true;
    for (let i = 0; i < requests; i++) wire.push(requestBytes('structured', command, 0, BigInt(i), 0, 2 * GiB));
    await until(() => heldSteps() > 0, 'the device has a step');
    return wire;
  }

  it.each([
    ['write zeroes', cmd.writeZeroes],
    ['trim', cmd.trim],
  ])('gives its device a few steps at a time: %s', async (_name, command) => {
    const wire = await beginZeroing(command, 200);
    expect(rig.driver.held.length).toBeLessThanOrEqual(4);
    for (const { numBlocks } of rig.driver.held) expect(numBlocks * 4096).toBeLessThanOrEqual(64 * MiB);
    wire.hangUp();
  });

  it('and leaves, leaves nothing more to be done', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 200);
    wire.hangUp();
    const steps = rig.driver.calls.length;
    rig.driver.letGo();
    await until(() => rig.server.connectionCount === 0, 'its place is free');
    expect(rig.driver.calls.length).toBe(steps);
  });

  it('does not hold up the end of the export, and is told nothing that is not so', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 20);
    let hasAnswer = false;
    void wire.client.expectReply(0n, cmd.writeZeroes, 0, 2 * GiB).then(
      () => (hasAnswer = true),
      () => undefined,
    );
    const steps = rig.driver.calls.length;
    const removed = rig.server.removeExport('disk');
    rig.driver.letGo();
    await removed;
    expect(rig.driver.calls.length).toBe(steps);
    expect(wire.isFinished).toBe(true);
    expect(hasAnswer).toBe(false);
  });

  it('with thousands of others, is given up with them when the export goes', async () => {
    begin({ device: { blockSize: 4096, numBlocks: 256 } });
    const wires = await Promise.all(Array.from({ length: 40 }, () => open()));
    rig.driver.isHolding = true;
    for (const wire of wires) {
      for (let i = 0; i < 250; i++) wire.push(requestBytes('structured', cmd.trim, 0, BigInt(i), 0, MiB));
    }
    await until(() => heldSteps() > 0, 'the device has a step');
    const removed = rig.server.removeExport('disk');
    rig.driver.letGo();
    await removed;
    expect(rig.server.connectionCount).toBe(0);
  });

  it('and says good-bye in the middle, has it done', async () => {
    const wire = await beginZeroing(cmd.writeZeroes, 1);
    wire.push(requestBytes('structured', cmd.disc, 0, 9n, 0, 0));
    rig.driver.letGo();
    await wire.client.ended();
    expect(rig.driver.calls.filter(({ type }) => type === IoType.WriteZeroes)).toHaveLength(2048 / 64);
  });
});

describe('a client with more requests than its export’s rate allows for hours', () => {
  async function beginWaiting(): Promise<[Wire, Promise<number[]>]> {
    begin();
    rig.bdev.rateLimits = { ...noRateLimits, iosPerSecond: 0.01 };
    const wire = await open();
    const replies = Array.from({ length: 20 }, () => wire.client.request(cmd.read, 0, 4 * KiB));
    await until(() => rig.driver.calls.length === 1, 'the device has the first one');
    return [
      wire,
      Promise.all(replies).then(
        (all) => all.map(({ errno }) => errno),
        () => [],
      ),
    ];
  }

  it('does not keep its place when it leaves', async () => {
    const [wire] = await beginWaiting();
    wire.hangUp();
    await until(() => rig.server.connectionCount === 0, 'its place is free');
    expect(rig.driver.calls.length).toBe(1);
  });

  it('does not hold up the end of the export, and is told that it ends', async () => {
    const [, errnos] = await beginWaiting();
    await rig.server.removeExport('disk');
    expect(await errnos).toEqual([0, ...Array.from({ length: 19 }, () => 108)]);
    expect(rig.driver.calls.length).toBe(1);
  });
});

describe('writes of parts of one block, thousands behind write zeroes', () => {
  it('are all answered, and so are reads of another export meanwhile', async () => {
    begin({ device: { blockSize: 4096, numBlocks: 256 }, memoryBytes: 128 * MiB });
    const other = addDevice(rig.registry, { name: 'm1' });
    rig.server.addExport({ name: 'other', bdev: other.bdev });
    const victim = await open('other');
    const wires = await Promise.all(Array.from({ length: 24 }, () => open()));
    rig.driver.isHolding = true;
    const replies = [wires[0]!.client.request(cmd.writeZeroes, 0, MiB)];
    await until(() => heldSteps() === 1, 'the zeroes are under way');
    for (const { client } of wires) {
      for (let i = 0; i < 255; i++) replies.push(client.pwrite(512 * (i % 7), Buffer.alloc(512, i)));
    }
    rig.driver.letGo();
    let reads = 0;
    let isOver = false;
    const all = Promise.all(replies).then((answers) => {
      isOver = true;
      return answers;
    });
    while (!isOver) {
      expect((await victim.client.pread(0, 4096)).errno).toBe(0);
      reads++;
    }
    for (const { errno } of await all) expect(errno).toBe(0);
    // How many depends on the engine and on the machine. What a lock costs is counted in bdev's range-locks.test.ts.
    expect(reads).toBeGreaterThan(4);
  });
});

describe('memory', () => {
  const manyConnections = { memoryBytes: 128 * MiB, device: { numBlocks: 20_000 } };
  /** The time limit is longer than any test, so that no client is disconnected for being slow. */
  const patient = { server: { maxConnections: 256, stallTimeoutMs: 3_600_000 } };

  /** Reads of `bytes` each, one after the other: all of them are answered while the attackers are what they are. */
  async function expectServed(wire: Wire, bytes: number): Promise<void> {
    for (let i = 0; i < 50; i++) expect((await wire.client.pread(i * 512, bytes)).errno).toBe(0);
  }

  it('that is held by writes whose payload trickles in keeps no client from reading', async () => {
    begin({ ...manyConnections, ...patient });
    const victim = await open();
    for (let i = 0; i < 210; i++) {
      const wire = await open();
      wire.push(requestBytes('structured', cmd.write, 0, 1n, 0, MiB));
      wire.push(Buffer.alloc(1));
    }
    await expectServed(victim, 4096);
    // A client that connects only now is served, too.
    await expectServed(await open(), 4096);
  });

  it('that is held by replies that are not fetched keeps no client from reading, and one client holds little of it', async () => {
    begin({ ...manyConnections, ...patient });
    const victim = await open();
    const lazies = await Promise.all(Array.from({ length: 60 }, () => open()));
    for (const lazy of lazies) {
      lazy.isReading = false;
      for (let i = 0; i < 250; i++) lazy.push(requestBytes('structured', cmd.read, 0, 1n, 0, 64 * KiB));
    }
    await expectServed(victim, 4096);
    // What comes after the first replies have not been fetched gets no memory any more.
    const [first] = lazies;
    await until(() => first!.connection.sendQueue.bufferedBytes > 0, 'replies wait');
    const held = first!.connection.heldBytes;
    for (let i = 0; i < 250; i++) first!.push(requestBytes('structured', cmd.read, 0, 1n, 0, 64 * KiB));
    await expectServed(victim, 4096);
    expect(first!.connection.heldBytes).toBeLessThanOrEqual(held);
  });

  it('goes back from those that send a byte now and then, but not from those that are slow and move', async () => {
    begin({ memoryBytes: 32 * MiB, server: { maxConnections: 16, stallTimeoutMs: 1000 }, device: { numBlocks: 20_000 } });
    const tricklers = await Promise.all(Array.from({ length: 12 }, () => open()));
    for (const wire of tricklers) wire.push(requestBytes('structured', cmd.write, 0, 1n, 0, MiB));
    const slow = await open();
    slow.push(requestBytes('structured', cmd.write, 0, 7n, 0, 64 * KiB));
    const victim = await open();
    const read = victim.client.pread(0, 4 * MiB);
    for (let tick = 0; tricklers.some(({ isClosed }) => !isClosed) && tick < 2000; tick++) {
      for (const wire of tricklers) wire.push(Buffer.alloc(1));
      if (tick < 120) slow.push(Buffer.alloc(KiB / 2));
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (victim.connection.slots === 0) break;
    }
    expect((await read).errno).toBe(0);
    expect(tricklers.some(({ isAborted }) => isAborted)).toBe(true);
    expect(slow.isAborted).toBe(false);
  });

  it('is not all for one address, nor all for the network', async () => {
    begin({ ...manyConnections, ...patient });
    const remotes = [];
    for (let i = 0; i < 60; i++) {
      const wire = await open('disk', `192.0.2.1 port ${i}`);
      for (let n = 0; n < 8; n++) wire.push(requestBytes('structured', cmd.write, 0, 1n, 0, MiB));
      remotes.push(wire);
    }
    const other = await open('disk', '192.0.2.2 port 1');
    await expectServed(other, MiB);
    for (let i = 0; i < 60; i++) {
      const wire = await open('disk', `192.0.2.${3 + i} port 1`);
      for (let n = 0; n < 8; n++) wire.push(requestBytes('structured', cmd.write, 0, 1n, 0, MiB));
    }
    await expectServed(await open(), 512 * KiB);
  });
});

it('thousands of options are answered a few at a time, those of one client after those of another, and reads come in between', async () => {
  begin();
  const victim = await open();
  const flags = Buffer.of(0, 0, 0, 3);
  const lists = Buffer.concat(Array.from({ length: 1000 }, () => optionBytes(opt.list)));
  const attackers = Array.from({ length: 8 }, () => connect());
  const answered = (wire: Wire): number => wire.output.reduce((sum, { length }) => sum + length, 0);
  const all = (): number => attackers.reduce((sum, wire) => sum + answered(wire), 0);
  for (const wire of attackers) wire.push(Buffer.concat([flags, lists]));
  expect((await victim.client.pread(0, 512)).errno).toBe(0);
  // A list of one export has 48 bytes of answers; all together are 384,000.
  const atOnce = all();
  expect(atOnce).toBeLessThan(10_000);
  // A client that connects now need not wait for all of that.
  expect((await (await open()).client.pread(0, 512)).errno).toBe(0);
  expect(all()).toBeGreaterThan(atOnce);
  expect(all()).toBeLessThan(200_000);
  const shares = attackers.map(answered);
  expect(Math.max(...shares) - Math.min(...shares)).toBeLessThan(5000);
  await until(() => attackers.every((wire) => answered(wire) >= 48_000), 'everything is answered');
});

it('clients that hang up while their options wait for their turn have none, and take none from others', async () => {
  begin();
  const onTurn = vi.spyOn(NbdConnection.prototype, 'onTurn');
  const flags = Buffer.of(0, 0, 0, 3);
  const attackers = Array.from({ length: 60 }, () => connect());
  for (const wire of attackers) wire.push(Buffer.concat([flags, optionBytes(opt.list), optionBytes(opt.list)]));
  const last = attackers.pop()!;
  for (const wire of attackers) wire.hangUp();
  await until(() => onTurn.mock.calls.length > 0, 'it is the turn of the one that is left');
  expect(onTurn.mock.contexts[0]).toBe(last.connection);
  await until(() => last.output.length > 2, 'it is answered');
  expect(new Set(onTurn.mock.contexts)).toEqual(new Set([last.connection]));
  onTurn.mockRestore();
});

it('the log gets a few lines of what thousands of bad clients do', () => {
  begin();
  const lines: object[] = [];
  const log = { ...rig.registry.runtime.log, info: (fields: object) => void lines.push(fields) };
  let now = 0;
  const limit = new LogLimit(log, { now: () => now });
  for (let i = 0; i < 5000; i++) limit.log('info', { client: i }, 'dropped');
  expect(lines).toHaveLength(20);
  now = 5000;
  limit.log('info', {}, 'dropped');
  expect(lines[20]).toEqual({ leftOut: 4980 });
});

describe('places', () => {
  it.each([
    ['one address', (i: number) => `192.0.2.1 port ${i}`, 32],
    ['Unix sockets', () => 'unix', 96],
  ])('of silent clients, before they have chosen an export, are there for those who come: %s', async (_name, peerOf, most) => {
    begin({ server: { maxConnections: 64 } });
    expect(connectMany(300, peerOf)).toHaveLength(most);
    const others = ['unix', '192.0.2.2 port 1', '2001:db8::1 port 1'].filter((peer) => peer !== peerOf(0));
    for (const peer of others) expect((await (await open('disk', peer)).client.pread(0, 512)).errno).toBe(0);
  });

  // With four places there may be 16 handshakes, and 16 further clients that are closing.
  it('of those who use an export or close are not for handshakes of one address, and keep others out no longer', async () => {
    begin({ server: { maxConnections: 4 } });
    const silent = connectMany(60, (i) => `192.0.2.1 port ${i}`);
    expect(silent).toHaveLength(16);
    for (const peer of ['unix', '192.0.2.2 port 1']) {
      expect((await (await open('disk', peer)).client.pread(0, 512)).errno).toBe(0);
    }
    expect(silent.filter(({ isAborted }) => isAborted)).toHaveLength(1);
    // The first takes the place of the client that has gone on to its export, the others those of the oldest after a second.
    expect(connectMany(3, (i) => `192.0.2.1 port ${60 + i}`, 1000)).toHaveLength(3);
    expect(silent.map(({ isAborted }) => isAborted)).toEqual(silent.map((_, i) => i < 3));
  });

  it('of those who use an export are not for clients that close, and nobody is dropped for a newcomer without room', async () => {
    begin({ server: { maxConnections: 4 } });
    const silent = connectMany(60, (i) => `192.0.2.${i} port 1`);
    expect(silent).toHaveLength(32);
    const dropped = silent.filter(({ isAborted }) => isAborted);
    expect(dropped).toHaveLength(16);
    const users = silent.filter(({ isAborted }) => !isAborted).slice(0, 3);
    for (const { client } of users) await client.open('disk');
    expect(connectMany(60, (i) => `198.51.100.${i} port 1`)).toHaveLength(3);
    expect(silent.filter(({ isAborted }) => isAborted)).toEqual(dropped);
    for (const { client } of users) expect((await client.pread(0, 512)).errno).toBe(0);
    dropped[0]!.hangUp();
    expect((await (await open()).client.pread(0, 512)).errno).toBe(0);
  });

  it('are for all who can use an export at the same moment: for Unix sockets all, for one address half of them', async () => {
    begin({ server: { maxConnections: 64 } });
    expect(connectMany(60, (i) => `192.0.2.1 port ${i}`)).toHaveLength(32);
    const local = connectMany(64, () => 'unix');
    expect(local).toHaveLength(64);
    for (const { client } of local) await client.open('disk');
    expect(rig.server.clients()).toHaveLength(64);
  });

  it('are not all for one address, nor all for the network', async () => {
    begin({ server: { maxConnections: 64 } });
    for (let i = 0; i < 32; i++) await open('disk', `192.0.2.1 port ${i}`);
    expect(() => connect('192.0.2.1 port 99')).toThrow('turned away');
    // One IPv6 network counts as one address.
    for (let i = 0; i < 24; i++) await open('disk', `2001:db8::${i} port 1`);
    expect(() => connect('2001:db9::1 port 1')).toThrow('turned away');
    for (let i = 0; i < 8; i++) await open();
    expect(() => connect()).toThrow('turned away');
  });
});
