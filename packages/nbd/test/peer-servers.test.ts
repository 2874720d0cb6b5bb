import { BdevRegistry } from '@raidkit/bdev';
import { BufferMemory } from '@raidkit/parity';
import type { Reactor } from '@raidkit/reactor';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeCertificates } from '../../../test/support/certificates.js';
import { RingNbdServer, TlsTerminator, readTlsCredentials } from '../src/index.js';
import type { NbdAddress, ConnectionHandoff } from '../src/index.js';
import { cmd, goData, metaData, opt, optionBytes, rep, requestBytes } from './client.js';
import type { OptionAnswer, TestClient } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, expectBytes, pattern, theReactor, turns, until } from './kit.js';
import type { MemoryDriver } from './kit.js';
import { folder, itWith, ok, run } from './programs.js';
import { connectSocket } from './socket-client.js';
import { secure } from './tls-client.js';

/** Two servers that know of each other: a client that comes in at one of them may go on at the other. */

const sizes = { left: 16 * MiB, right: 32 * MiB };
type Side = keyof typeof sizes;

interface Half {
  registry: BdevRegistry;
  server: RingNbdServer;
  driver: MemoryDriver;
}

let reactor: Reactor;
let halves: Record<Side, Half>;
let handedOver: ConnectionHandoff[];
/** What becomes of a client that leaves; by default the other side takes it in a later turn. */
let route: (connection: ConnectionHandoff, to: RingNbdServer) => void;
let has: (side: Side, name: string) => boolean;
const sockets: Socket[] = [];

/** TLS for both. */
let terminator: TlsTerminator | null = null;
let isRequired: boolean;
let ca: string;

beforeAll(async () => {
  reactor = await theReactor();
});

function newHalf(side: Side, other: Side): Half {
  const registry = new BdevRegistry({ ...reactor.runtime, memory: new BufferMemory({ bytes: 64 * MiB }) });
  const { bdev, driver } = addDevice(registry, { name: side, numBlocks: sizes[side] / 512 });
  const server: RingNbdServer = new RingNbdServer({
    registry,
    ring: reactor.ring,
    maxConnections: 24,
    maxOptions: 40,
    tls: { isRequired, take: (client) => terminator?.take(client) },
    handshakeTimeoutMs: 2000,
    peers: {
      has: (name) => has(side, name),
      exports: () => halves[other].server.exports(),
      take(connection) {
        // The message is copied as if it were sent to another thread.
        const copy = structuredClone(connection);
        handedOver.push(copy);
        setImmediate(() => route(copy, halves[other].server));
      },
    },
  });
  server.addExport({ name: side, bdev, description: `the ${side} one`, isDefault: side === 'right' });
  return { registry, server, driver };
}

beforeEach(() => {
  handedOver = [];
  isRequired = false;
  route = (connection, to) => to.adopt(connection);
  halves = { left: newHalf('left', 'right'), right: newHalf('right', 'left') };
  has = (side, name) => name === (side === 'left' ? 'right' : 'left') || (side === 'left' && name === '');
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const half of Object.values(halves)) {
    await half.server.close();
    assertNoLeak(half);
  }
});

let socketNumber = 0;
async function listen(side: Side): Promise<{ address: NbdAddress; uri: (name: string) => string }> {
  return halves[side].server.listen({ unix: join(folder, `s${socketNumber++}`) });
}

async function connected(side: Side): Promise<{ client: TestClient; socket: Socket }> {
  const { address } = await listen(side);
  const { client, socket } = await connectSocket(address);
  sockets.push(socket);
  return { client, socket };
}

async function greeted(side: Side): Promise<{ client: TestClient; socket: Socket }> {
  const found = await connected(side);
  await found.client.greet();
  return found;
}

function connections(): [number, number] {
  return [halves.left.server.connectionCount, halves.right.server.connectionCount];
}

function types(answers: OptionAnswer[]): number[] {
  return answers.map(({ type }) => type);
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('real clients', () => {
  itWith(['nbdinfo'], 'nbdinfo lists what both have, at either, and reads each', async () => {
    for (const side of ['left', 'right'] as const) {
      const { uri } = await listen(side);
      const { exports: found } = JSON.parse(await ok('nbdinfo', '--list', '--json', uri(''))) as {
        exports: Record<string, unknown>[];
      };
      const shown = found.map((one) => [one['export-name'], one.description, one['export-size']]);
      expect(shown.sort()).toEqual([
        ['left', 'the left one', sizes.left],
        ['right', 'the right one', sizes.right],
      ]);
      for (const name of ['left', 'right'] as const)
        expect((await ok('nbdinfo', '--size', uri(name))).trim()).toBe(String(sizes[name]));
      expect((await ok('nbdinfo', '--size', uri(''))).trim()).toBe(String(sizes.right));
      expect((await run('nbdinfo', [uri('nowhere')])).code).not.toBe(0);
    }
    expect(handedOver.length).toBeGreaterThan(3);
  });

  itWith(['nbdcopy', 'qemu-img'], 'nbdcopy and qemu-img move data there and back', async () => {
    const { uri } = await listen('left');
    const source = join(folder, 'source');
    const back = join(folder, 'back');
    const data = pattern(sizes.right, 5);
    writeFileSync(source, data);
    await ok('nbdcopy', '--flush', '--connections=4', source, uri('right'));
    expectBytes(halves.right.driver.bytes, data);
    await ok('nbdcopy', '--connections=4', uri('right'), back);
    expectBytes(readFileSync(back), data);
    expect(await ok('qemu-img', 'info', '-f', 'raw', uri('right'))).toContain(`(${sizes.right} bytes)`);
    expect(await ok('qemu-img', 'info', '-f', 'raw', uri('left'))).toContain(`(${sizes.left} bytes)`);
    expect(await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, uri('right'))).toContain('identical');
    expect(halves.left.driver.calls).toEqual([]);
  });
});

describe('what has been agreed goes along', () => {
  it.each(['simple', 'structured', 'extended'] as const)(
    '%s replies, and the context that was chosen for the export',
    async (style) => {
      const { client } = await connected('left');
      await client.open('right', style);
      expect(client.sizeBytes).toBe(sizes.right);
      const data = pattern(300 * KiB, 2);
      expect((await client.pwrite(777, data)).errno).toBe(0);
      expectBytes((await client.pread(777, data.length)).data, data);
      expectBytes(halves.right.driver.bytes.subarray(777, 777 + data.length), data);
      expect((await client.request(cmd.blockStatus, 0, 512)).errno).toBe(style === 'simple' ? 22 : 0);
      expect(connections()).toEqual([0, 1]);
    },
  );

  it('to and fro: the context for one export survives a look at the other, and counts for it alone', async () => {
    const { client } = await greeted('left');
    await client.option(opt.structuredReply);
    expect(types(await client.option(opt.setMeta, metaData('right', ['base:allocation'])))).toEqual([rep.meta, rep.ack]);
    expect(types(await client.option(opt.info, goData('left')))).toEqual([rep.info, rep.ack]);
    expect(types(await client.option(opt.go, goData('')))).toEqual([rep.info, rep.ack]);
    expect(handedOver.map(({ exportName }) => exportName)).toEqual(['right', 'left', '']);
    client.start('structured');
    expect((await client.request(cmd.blockStatus, 0, 512)).errno).toBe(0);

    const { client: second } = await greeted('left');
    await second.option(opt.structuredReply);
    await second.option(opt.setMeta, metaData('right', ['base:allocation']));
    await second.option(opt.go, goData('left'));
    second.start('structured');
    expect((await second.request(cmd.blockStatus, 0, 512)).errno).toBe(22);
  });

  it.each([
    [3, 10],
    [1, 134],
  ])('EXPORT_NAME with client flags %i is answered with %i bytes', async (clientFlags, bytes) => {
    const { client } = await connected('left');
    await client.greet(clientFlags);
    client.send(optionBytes(opt.exportName, Buffer.from('right')));
    expect((await client.read(bytes)).readBigUInt64BE(0)).toBe(BigInt(sizes.right));
    client.start('simple');
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('an export that is in neither is refused, and the client goes on', async () => {
    const { client } = await greeted('left');
    for (const option of [opt.info, opt.go])
      expect(types(await client.option(option, goData('nowhere')))).toEqual([rep.unknown]);
    expect(types(await client.option(opt.listMeta, metaData('nowhere', [])))).toEqual([rep.unknown]);
    expect(handedOver).toEqual([]);
    expect(types(await client.option(opt.listMeta, metaData('right', [])))).toEqual([rep.meta, rep.ack]);
    expect(types(await client.option(opt.go, goData('left')))).toEqual([rep.info, rep.ack]);
  });
});

describe('bytes on the way', () => {
  /** Everything that a client can say without listening. */
  function session(): Buffer {
    const writes = Array.from({ length: 6 }, (_, i) => [
      requestBytes('structured', cmd.write, 0, BigInt(i), i * 50_000, 50_000),
      pattern(50_000, i),
    ]);
    return Buffer.concat([
      Buffer.from([0, 0, 0, 3]),
      optionBytes(opt.structuredReply),
      optionBytes(opt.list),
      optionBytes(opt.info, goData('right')),
      optionBytes(opt.info, goData('left')),
      optionBytes(opt.go, goData('right')),
      ...writes.flat(),
      requestBytes('structured', cmd.read, 0, 9n, 0, 300_000),
      requestBytes('structured', cmd.disc, 0, 0n, 0, 0),
    ]);
  }
  const expected = Buffer.concat(Array.from({ length: 6 }, (_, i) => pattern(50_000, i)));

  async function expectAnswers(client: TestClient): Promise<void> {
    const writes = Array.from({ length: 6 }, (_, i) => client.expectReply(BigInt(i), cmd.write, i * 50_000, 50_000));
    const read = client.expectReply(9n, cmd.read, 0, 300_000);
    await client.read(18);
    expect(types(await client.answers(opt.structuredReply))).toEqual([rep.ack]);
    expect(types(await client.answers(opt.list))).toEqual([rep.server, rep.server, rep.ack]);
    for (const option of [opt.info, opt.info, opt.go]) expect(types(await client.answers(option))).toEqual([rep.info, rep.ack]);
    client.start('structured');
    for (const { errno } of await Promise.all(writes)) expect(errno).toBe(0);
    expect((await read).errno).toBe(0);
    expectBytes(halves.right.driver.bytes.subarray(0, 300_000), expected);
    await client.ended();
  }

  it('everything in one go: options, requests and payloads behind the one that names the export', async () => {
    const { client } = await connected('left');
    client.send(session());
    await expectAnswers(client);
    expect(handedOver.map(({ exportName }) => exportName)).toEqual(['right', 'left', 'right']);
    expect(Math.max(...handedOver.map(({ unread }) => unread.length))).toBeGreaterThan(2000);
  });

  it('cut in two at every byte of the handshake', async () => {
    const bytes = session();
    const handshakeBytes = bytes.length - 300_000 - 8 * 28;
    for (let cut = 1; cut < handshakeBytes + 30; cut++) {
      const { client } = await connected('left');
      client.send(bytes.subarray(0, cut));
      await turns(cut % 5);
      client.send(bytes.subarray(cut));
      await expectAnswers(client);
    }
    await until(() => connections().join() === '0,0', 'all are gone');
  }, 60_000);

  it('an option of the largest size goes along whole', async () => {
    const { client } = await greeted('left');
    const queries = Array.from({ length: 254 }, (_, i) => `x:${String(i).padStart(10, '0')}`.slice(0, 12));
    const data = metaData('right', [...queries.slice(0, 253), 'base:allocation']);
    expect(data.length).toBeGreaterThan(4000);
    client.send(Buffer.concat([optionBytes(opt.listMeta, data), optionBytes(opt.listMeta, data), optionBytes(opt.list)]));
    for (let i = 0; i < 2; i++) expect(types(await client.answers(opt.listMeta))).toEqual([rep.meta, rep.ack]);
    expect(types(await client.answers(opt.list))).toEqual([rep.server, rep.server, rep.ack]);
  });

  it('half a header that comes along is completed by what comes later', async () => {
    const { client } = await greeted('left');
    const second = optionBytes(opt.go, goData('right'));
    client.send(Buffer.concat([optionBytes(opt.info, goData('right')), second.subarray(0, 7)]));
    expect(types(await client.answers(opt.info))).toEqual([rep.info, rep.ack]);
    expect(handedOver[0]?.unread.length).toBe(optionBytes(opt.info, goData('right')).length + 7);
    client.send(second.subarray(7));
    expect(types(await client.answers(opt.go))).toEqual([rep.info, rep.ack]);
  });
});

describe('TLS', () => {
  beforeAll(() => {
    const { server, client } = makeCertificates(folder);
    terminator = new TlsTerminator(readTlsCredentials({ certificates: server }), () => undefined);
    ca = readFileSync(join(client, 'ca-cert.pem'), 'utf8');
  });

  it('goes along, and need not begin again', async () => {
    isRequired = true;
    const tlsHalves = { left: newHalf('left', 'right'), right: newHalf('right', 'left') };
    for (const half of Object.values(halves)) await half.server.close();
    halves = tlsHalves;
    const { client: before, socket } = await greeted('left');
    expect(types(await before.option(opt.startTls))).toEqual([rep.ack]);
    const { client, tls } = await secure(socket, { ca });
    sockets.unshift(tls);
    expect(types(await client.option(opt.list))).toEqual([rep.server, rep.server, rep.ack]);
    expect(types(await client.option(opt.info, goData('right')))).toEqual([rep.info, rep.ack]);
    expect(types(await client.option(opt.startTls))).toEqual([rep.invalid]);
    client.send(
      Buffer.concat([
        optionBytes(opt.info, goData('left')),
        optionBytes(opt.go, goData('right')),
        requestBytes('simple', cmd.read, 0, 1n, 0, MiB),
      ]),
    );
    const read = client.expectReply(1n, cmd.read, 0, MiB);
    for (const option of [opt.info, opt.go]) expect(types(await client.answers(option))).toEqual([rep.info, rep.ack]);
    client.start('simple');
    expect((await read).errno).toBe(0);
    expect(connections()).toEqual([0, 1]);
    expect(handedOver.map(({ progress }) => progress.isTls)).toEqual([true, true, true]);
    await turns(1);
  });

  it('may begin at the server that a client has moved to', async () => {
    const { client: before, socket } = await greeted('left');
    expect(types(await before.option(opt.info, goData('right')))).toEqual([rep.info, rep.ack]);
    expect(types(await before.option(opt.startTls))).toEqual([rep.ack]);
    const { client, tls } = await secure(socket, { ca });
    sockets.unshift(tls);
    expect(types(await client.option(opt.go, goData('right')))).toEqual([rep.info, rep.ack]);
    client.start('simple');
    expect((await client.pread(0, 512)).errno).toBe(0);
    await turns(1);
  });

  it('does not begin if something in the clear came along behind STARTTLS', async () => {
    const { client } = await greeted('left');
    client.send(
      Buffer.concat([optionBytes(opt.info, goData('right')), optionBytes(opt.startTls), optionBytes(opt.go, goData('right'))]),
    );
    await client.ended();
    expect(handedOver).toHaveLength(1);
    expect(connections()).toEqual([0, 0]);
  });
});

describe('limits and ends', () => {
  it('a client that two servers send to and fro is dropped', async () => {
    has = () => true;
    const { client } = await greeted('left');
    client.send(optionBytes(opt.go, goData('nowhere')));
    await client.ended();
    expect(handedOver).toHaveLength(40);
    expect(connections()).toEqual([0, 0]);
  });

  it('a server without room, or closed, closes the socket; the giver no longer counts it', async () => {
    const full: Socket[] = [];
    const { address } = await listen('right');
    for (let i = 0; i < 24; i++) {
      const { client, socket } = await connectSocket(address);
      full.push(socket);
      await client.open('right');
    }
    const before = descriptors();
    const { client, socket } = await greeted('left');
    client.send(optionBytes(opt.go, goData('right')));
    await client.ended();
    socket.destroy();
    expect(connections()).toEqual([0, 24]);
    for (const one of full) one.destroy();
    await until(() => halves.right.server.connectionCount === 0, 'there is room again');
    expect(types(await (await greeted('left')).client.option(opt.go, goData('right')))).toEqual([rep.info, rep.ack]);
    await halves.right.server.close();
    const { client: late } = await greeted('left');
    late.send(optionBytes(opt.go, goData('right')));
    await late.ended();
    await until(() => descriptors() <= before, 'no descriptor is left over');
  });

  it('the time for the handshake goes on where it was', async () => {
    const { client } = await greeted('left');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(types(await client.option(opt.info, goData('right')))).toEqual([rep.info, rep.ack]);
    expect(handedOver[0]!.handshakeLeftMs).toBeLessThanOrEqual(1701);
    expect(handedOver[0]!.handshakeLeftMs).toBeGreaterThan(0);
    expect(connections()).toEqual([0, 1]);
    await client.ended();
    expect(connections()).toEqual([0, 0]);
  });

  it('clients that hang up before, during and after leave nothing behind', async () => {
    const { address } = await listen('left');
    const before = descriptors();
    route = (connection, to) => setTimeout(() => to.adopt(connection), handedOver.length % 3);
    for (let i = 0; i < 120; i++) {
      const { client, socket } = await connectSocket(address);
      client.send(
        Buffer.concat([
          Buffer.from([0, 0, 0, 3]),
          optionBytes(opt.list),
          optionBytes(opt.go, goData('right')),
          requestBytes('simple', cmd.read, 0, 1n, 0, MiB),
        ]),
      );
      if (i % 3 === 0) socket.end();
      else if (i % 3 === 1) await turns(i % 7);
      socket.destroy();
      await until(() => Math.max(...connections()) < 10, 'some are gone');
    }
    await until(() => connections().join() === '0,0' && descriptors() <= before, 'all are gone');
    expect(handedOver.length).toBeGreaterThan(10);
    expect(types(await (await greeted('left')).client.option(opt.go, goData('right')))).toEqual([rep.info, rep.ack]);
  });

  it('a client that has stopped sending is answered', async () => {
    const { client, socket } = await greeted('left');
    socket.end(Buffer.concat([optionBytes(opt.go, goData('right')), requestBytes('simple', cmd.read, 0, 1n, 0, 4096)]));
    const read = client.expectReply(1n, cmd.read, 0, 4096);
    expect(types(await client.answers(opt.go))).toEqual([rep.info, rep.ack]);
    client.start('simple');
    expect((await read).errno).toBe(0);
    await client.ended();
  });

  it('a server that closes ends a client that could not leave yet because it does not listen', async () => {
    const { left } = halves;
    const { bdev } = addDevice(left.registry, { name: 'small', numBlocks: 8 });
    for (let i = 0; i < 700; i++) left.server.addExport({ name: `${i}`, bdev, readOnly: true, description: 'd'.repeat(1000) });
    const { client, socket } = await greeted('left');
    socket.pause();
    client.send(
      Buffer.concat([
        optionBytes(opt.list),
        optionBytes(opt.list),
        optionBytes(opt.list),
        optionBytes(opt.go, goData('right')),
      ]),
    );
    await turns(20);
    expect([handedOver, connections()]).toEqual([[], [1, 0]]);
    const closed = left.server.close();
    socket.resume();
    await closed;
    await client.ended();
    expect(handedOver).toEqual([]);
  });
});
