import { Status } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cmd, flag, goData, metaData, opt, optionBytes, requestBytes } from './client.js';
import type { Style } from './client.js';
import { KiB, MiB, assertNoLeak, expectBytes, newRig, pattern, seeded, turns, until } from './kit.js';
import type { Rig } from './kit.js';
import { connectWire } from './wire.js';
import type { Wire, WireOptions } from './wire.js';

function connect(rig: Rig, options: Partial<WireOptions> = {}): Wire {
  return connectWire(rig.server, { memory: rig.registry.runtime.memory.u8, ...options });
}

/** What a client says in a session in which it does everything. */
function session(style: Style): Buffer {
  const option = { simple: [], structured: [optionBytes(opt.structuredReply)], extended: [optionBytes(opt.extendedHeaders)] }[
    style
  ];
  const request = (
    command: number,
    offset: number,
    length: number,
    flags = 0,
    payload: Uint8Array = Buffer.alloc(0),
  ): Buffer => {
    const isWrite = command === cmd.write && style === 'extended';
    return Buffer.concat([
      requestBytes(style, command, isWrite ? flags | flag.payloadLen : flags, BigInt(offset + length), offset, length),
      payload,
    ]);
  };
  return Buffer.concat([
    Buffer.from([0, 0, 0, 3]),
    optionBytes(opt.list),
    optionBytes(opt.info, Buffer.alloc(4200)),
    ...option,
    optionBytes(opt.setMeta, metaData('disk', ['base:allocation'])),
    optionBytes(opt.go, goData('disk', [3, 1])),
    request(cmd.write, 0, 700, 0, pattern(700, 1)),
    request(cmd.read, 100, 5000),
    request(cmd.write, 1024, 512, flag.fua, pattern(512, 2)),
    request(cmd.write, 2 ** 40, 300, 0, pattern(300, 3)),
    request(cmd.writeZeroes, 30, 3000),
    request(cmd.trim, 4096, 1024),
    request(cmd.blockStatus, 0, 4096),
    request(cmd.flush, 0, 0),
    request(cmd.read, 0, 100),
    request(cmd.disc, 0, 0),
  ]);
}

const styles: Style[] = ['simple', 'structured', 'extended'];

/** The memory that matters is of fixed size; what is left to grow is the number of objects. */
async function expectHealthy(rig: Rig): Promise<void> {
  await until(() => rig.server.connectionCount === 0, 'all connections are gone');
  assertNoLeak(rig);
  const { client } = connect(rig);
  await client.open();
  const data = pattern(3000, 77);
  expect((await client.pwrite(77, data)).errno).toBe(0);
  expectBytes((await client.pread(77, 3000)).data, data);
  await rig.server.close();
  assertNoLeak(rig);
}

/** All that the server says in reply to `bytes`, when it takes requests one at a time. */
async function play(bytes: Buffer, options: Partial<WireOptions>): Promise<Buffer> {
  const rig = newRig();
  const wire = connect(rig, options);
  wire.push(bytes);
  await wire.client.ended();
  expect(wire.isFinished).toBe(true);
  await rig.server.close();
  assertNoLeak(rig);
  return Buffer.concat(wire.output);
}

describe.each(styles)('a session with %s replies', (style) => {
  it('gives as many bytes however it is cut, and ends by DISC with everything answered', async () => {
    const bytes = session(style);
    const whole = await play(bytes, {});
    expect((await play(bytes, { chunk: () => 1 })).length).toBe(whole.length);
    expect((await play(bytes, { isGreedy: true })).length).toBe(whole.length);
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.boolean(), async (seed, isGreedy) => {
        const random = seeded(seed);
        const output = await play(bytes, { chunk: (available) => Math.ceil(random() ** 3 * available), isGreedy });
        expect(output.length).toBe(whole.length);
      }),
      { numRuns: 20 },
    );
  });

  it('may break off at every byte, by hanging up', async () => {
    const rig = newRig();
    rig.driver.chance = seeded(3);
    const bytes = session(style);
    for (let length = 0; length <= bytes.length; length += length > 200 && length < 4400 ? 97 : 1) {
      const wire = connect(rig, { isGreedy: length % 2 === 0 });
      wire.push(bytes.subarray(0, length));
      await turns(length % 4);
      wire.hangUp();
      await until(() => rig.server.connectionCount < 40, 'connections that have broken off are gone');
    }
    await expectHealthy(rig);
  });

  it('may break off at every byte, by an end of the stream', async () => {
    const rig = newRig();
    const bytes = session(style);
    for (let length = 0; length <= bytes.length; length += length > 200 && length < 4400 ? 97 : 1) {
      const wire = connect(rig);
      wire.push(bytes.subarray(0, length));
      wire.pushEnd();
      await wire.client.ended();
    }
    await expectHealthy(rig);
  });
});

describe('random bytes', () => {
  it('from the start, after the greeting, or in place of requests: the connection ends or waits, others go on', async () => {
    const rig = newRig({ server: { handshakeTimeoutMs: 2000 } });
    const good = connect(rig);
    await good.client.open();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 2 }), async (noise, phase) => {
        const wire = connect(rig);
        if (phase > 0) wire.push(Buffer.from([0, 0, 0, 3]));
        if (phase > 1) wire.push(optionBytes(opt.go, goData('disk')));
        wire.push(Buffer.from(noise));
        await turns(2);
        expect((await good.client.pread(0, 512)).errno).toBe(0);
        wire.hangUp();
      }),
      { numRuns: 400 },
    );
    good.hangUp();
    await expectHealthy(rig);
  });

  it('inside a session: whatever it does, it leaves nothing behind', async () => {
    const rig = newRig();
    rig.driver.chance = seeded(9);
    const sessions = styles.map(session);
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const random = seeded(seed);
        const bytes = Buffer.from(sessions[Math.floor(random() * 3)]!);
        for (let i = 0; i <= random() * 6; i++) {
          const at = Math.floor(random() * bytes.length);
          if (random() < 0.5) bytes[at] = Math.floor(random() * 256);
          else bytes.fill(random() < 0.5 ? 0xff : 0, at, Math.min(bytes.length, at + Math.ceil(random() * 8)));
        }
        const wire = connect(rig, { isGreedy: random() < 0.5, chunk: (available) => Math.ceil(random() * available) });
        wire.push(bytes);
        await turns(3);
        if (random() < 0.5) {
          wire.hangUp();
        } else {
          wire.pushEnd();
          // The server does not wait for a payload that was announced and never arrives.
          await wire.client.ended();
        }
      }),
      { numRuns: 600 },
    );
    expect(rig.server.usage.requestObjects).toBeLessThan(300);
    await expectHealthy(rig);
  });
});

describe('memory', () => {
  it('a client that never takes replies is held back, and costs the others nothing', async () => {
    const rig = newRig({ device: { numBlocks: 20_000 }, memoryBytes: 64 * MiB });
    const lazy = connect(rig);
    await lazy.client.open();
    lazy.isReading = false;
    for (let i = 0; i < 2000; i++) lazy.push(requestBytes('structured', cmd.read, 0, 1n, 0, 128 * KiB));
    for (let i = 0; i < 20_000; i++) lazy.push(requestBytes('structured', cmd.cache, 0, 1n, 0, 512));
    await turns(50);
    expect(lazy.unwantedBytes).toBeGreaterThan(500_000);
    const { bytes } = rig.server.usage;
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(8 * MiB);
    const { client } = connect(rig);
    await client.open();
    for (let i = 0; i < 50; i++) expect((await client.pread(0, 64 * KiB)).errno).toBe(0);
    lazy.hangUp();
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('a client that wakes up gets all its replies', async () => {
    const rig = newRig({ device: { numBlocks: 20_000 } });
    const lazy = connect(rig);
    await lazy.client.open();
    pattern(8 * MiB, 3).copy(rig.driver.bytes);
    lazy.isReading = false;
    const replies = Array.from({ length: 400 }, (_, i) => lazy.client.pread(i * 1000, 100 * KiB));
    const caches = Array.from({ length: 400 }, () => lazy.client.request(cmd.cache, 0, 512));
    await turns(20);
    lazy.startReading();
    const answers = await Promise.all(replies);
    answers.forEach(({ data }, i) => expectBytes(data, rig.driver.bytes.subarray(i * 1000, i * 1000 + 100 * KiB)));
    await Promise.all(caches);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('at most so many requests are in flight: of one connection, and of all', async () => {
    const rig = newRig({ server: { maxRequestsPerConnection: 8, maxRequests: 20 } });
    rig.driver.isHolding = true;
    const wires = [0, 1, 2, 3].map(() => connect(rig));
    for (const { client } of wires) await client.open();
    const replies = wires.flatMap(({ client }) => Array.from({ length: 30 }, (_, i) => client.pread(i * 512, 512)));
    await until(() => rig.driver.held.length === 20, 'the limit is reached');
    await turns();
    expect(rig.driver.held.length).toBe(20);
    expect(Math.max(...wires.map(({ connection }) => connection.slots))).toBe(8);
    rig.driver.letGo();
    for (const { errno } of await Promise.all(replies)) expect(errno).toBe(0);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('few buffers are enough for many large requests of many clients, in every style', async () => {
    // The memory has 16 MiB: a few buffers of 64 KiB and more.
    const rig = newRig({ memoryBytes: 16 * MiB, device: { blockSize: 4096, numBlocks: 1024 }, server: { maxConnections: 16 } });
    rig.driver.chance = seeded(2);
    const wires = Array.from({ length: 12 }, () => connect(rig));
    await Promise.all(wires.map(({ client }, i) => client.open('disk', styles[i % 3])));
    const data = pattern(4 * MiB, 5);
    data.copy(rig.driver.bytes);
    const work = wires.flatMap(({ client }, i) => [
      client.pread(i, 3 * MiB).then((reply) => expectBytes(reply.data, data.subarray(i, i + 3 * MiB))),
      // Every client writes what is there already, so that the reads have one right answer.
      client.pwrite(100 * i + 1, data.subarray(100 * i + 1, 3 * MiB)).then(({ errno }) => expect(errno).toBe(0)),
      client
        .pread(i * 4096, 64 * KiB, i % 3 === 0 ? 0 : flag.df)
        .then((reply) => expectBytes(reply.data, data.subarray(i * 4096, i * 4096 + 64 * KiB))),
      client
        .pread(2 * i, 3 * MiB, i % 3 === 0 ? 0 : flag.df)
        .then((reply) => expectBytes(reply.data, data.subarray(2 * i, 2 * i + 3 * MiB))),
    ]);
    await Promise.all(work);
    expectBytes(rig.driver.bytes, data);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('clients that are short of memory, over a device that fails now and then, are let go in any state', async () => {
    const rig = newRig({ memoryBytes: 16 * MiB, device: { blockSize: 4096, numBlocks: 1024 }, server: { maxConnections: 16 } });
    const random = seeded(4);
    rig.driver.chance = random;
    rig.driver.fault = () => (random() < 0.05 ? Status.IoError : Status.Ok);
    for (let round = 0; round < 60; round++) {
      const wires = Array.from({ length: 8 }, () => connect(rig));
      await Promise.all(wires.map(({ client }, i) => client.open('disk', styles[i % 3])));
      for (const wire of wires) {
        wire.isReading = random() < 0.7;
        const request = (offset: number, command: number): void => {
          const reply =
            command === cmd.read ? wire.client.pread(offset, 2 * MiB) : wire.client.pwrite(offset, pattern(1 * MiB, 1));
          reply.catch(() => undefined);
        };
        for (let i = 0; i < 4; i++) request(Math.floor(random() * 1000), random() < 0.5 ? cmd.read : cmd.write);
      }
      await turns(Math.floor(random() * 6));
      for (const wire of wires) wire.hangUp();
    }
    rig.driver.fault = () => Status.Ok;
    await expectHealthy(rig);
  });

  it('a client that keeps memory others wait for is dropped, one that keeps no others waiting is not', async () => {
    const rig = newRig({ memoryBytes: 16 * MiB, server: { maxConnections: 16, stallTimeoutMs: 40 } });
    const half = connect(rig);
    await half.client.open();
    half.push(requestBytes('structured', cmd.write, 0, 1n, 0, 64 * KiB));
    half.push(Buffer.alloc(100));
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(half.isClosed).toBe(false);
    const lazies = Array.from({ length: 6 }, () => connect(rig));
    for (const lazy of lazies) {
      await lazy.client.open();
      lazy.isReading = false;
      for (let i = 0; i < 200; i++) lazy.push(requestBytes('structured', cmd.read, 0, 1n, 0, 60 * KiB));
    }
    const { client } = connect(rig);
    await client.open();
    for (let i = 0; i < 5; i++) expect((await client.pread(0, 64 * KiB)).errno).toBe(0);
    expect(half.isAborted || lazies.some(({ isAborted }) => isAborted)).toBe(true);
    for (const wire of [half, ...lazies]) wire.hangUp();
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('a flood of errors and of tiny requests is answered in full', async () => {
    const rig = newRig();
    const { client } = connect(rig);
    await client.open();
    const replies = Array.from({ length: 5000 }, (_, i) => client.request(i % 3 === 0 ? 50 : cmd.cache, 0, 512));
    const errnos = (await Promise.all(replies)).map(({ errno }) => errno);
    expect(errnos.filter((errno) => errno === 22)).toHaveLength(1667);
    await rig.server.close();
    assertNoLeak(rig);
  });

  it('4 GiB that are announced to be written are taken in and thrown away', async () => {
    const rig = newRig();
    const wire = connect(rig);
    await wire.client.open();
    const reply = wire.client.expectReply(9n, cmd.write, 0, 100 * MiB);
    wire.push(requestBytes('structured', cmd.write, 0, 9n, 0, 100 * MiB));
    for (let i = 0; i < 100; i++) wire.push(Buffer.alloc(MiB));
    expect((await reply).errno).toBe(22);
    wire.push(requestBytes('structured', cmd.write, 0, 9n, 0, 2 ** 32 - 1));
    wire.push(Buffer.alloc(MiB));
    await turns();
    expect(wire.unwantedBytes).toBe(0);
    expect(rig.server.usage.bytes).toBe(0);
    wire.hangUp();
    await expectHealthy(rig);
  });
});
