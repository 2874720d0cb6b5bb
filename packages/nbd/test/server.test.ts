import { IoType, Status } from '@raidkit/bdev';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NbdError } from '../src/index.js';
import type { NbdAddress } from '../src/index.js';
import { cmd, goData, opt, requestBytes } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, expectBytes, newRig, pattern, turns, until } from './kit.js';
import type { Rig, RigOptions } from './kit.js';
import { connectSocket } from './socket-client.js';
import { connectWire } from './wire.js';
import type { Wire } from './wire.js';

let folder: string;
const rigs: Rig[] = [];
const sockets: Socket[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nbd-'));
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const rig of rigs.splice(0)) {
    await rig.server.close();
    assertNoLeak(rig);
  }
  rmSync(folder, { recursive: true });
});

function rigWith(options?: RigOptions): Rig {
  const rig = newRig(options);
  rigs.push(rig);
  return rig;
}

async function wired(rig: Rig, name = 'disk'): Promise<Wire> {
  const wire = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
  await wire.client.open(name);
  return wire;
}

async function socketed(address: NbdAddress): ReturnType<typeof connectSocket> {
  const connected = await connectSocket(address);
  sockets.push(connected.socket);
  return connected;
}

function codeOf(error: unknown): string {
  return NbdError.is(error) ? `${error.code} ${error.errno}` : String(error);
}

describe('exports', () => {
  it('come and go at run time, under their own names', async () => {
    const rig = rigWith();
    const { bdev, driver } = addDevice(rig.registry, { name: 'm1', numBlocks: 64 });
    expect(rig.server.addExport({ name: 'second', bdev: 'm1', description: 'two' })).toMatchObject({
      name: 'second',
      bdev: 'm1',
      sizeBytes: 32_768,
      readOnly: false,
    });
    const first = await wired(rig);
    const second = await wired(rig, 'second');
    await second.client.pwrite(0, pattern(512, 5));
    expectBytes(driver.bytes.subarray(0, 512), pattern(512, 5));
    expect(rig.server.exports().map(({ name, connections }) => [name, connections])).toEqual([
      ['disk', 1],
      ['second', 1],
    ]);
    await rig.server.removeExport('second');
    expect([first.isClosed, second.isFinished, bdev.descriptors.size]).toEqual([false, true, 0]);
    expect((await first.client.pread(0, 512)).errno).toBe(0);
    rig.server.addExport({ name: 'second', bdev });
    expect((await (await wired(rig, 'second')).client.pread(0, 512)).data).toEqual(pattern(512, 5));
  });

  it('are refused with a reason', async () => {
    const rig = rigWith();
    const codes: string[] = [];
    for (const options of [
      { name: 'disk', bdev: 'm0' },
      { name: 'a', bdev: 'm0', isDefault: true },
      { name: 'a', bdev: 'nothing' },
      { name: 'x'.repeat(257), bdev: 'm0' },
      { name: 'ü'.repeat(129), bdev: 'm0' },
      { name: 'a\0b', bdev: 'm0' },
      { name: 'a', bdev: 'm0', description: 'x'.repeat(1025) },
    ]) {
      try {
        rig.server.addExport(options);
        codes.push('added');
      } catch (error) {
        codes.push(codeOf(error));
      }
    }
    expect(codes).toEqual([
      'ERR_NBD_EXPORT_EXISTS 17',
      'ERR_NBD_EXPORT_EXISTS 17',
      'ERR_NBD_EXPORT_NOT_FOUND 19',
      'ERR_NBD_INVALID 22',
      'ERR_NBD_INVALID 22',
      'ERR_NBD_INVALID 22',
      'ERR_NBD_INVALID 22',
    ]);
    expect(rig.bdev.descriptors.size).toBe(1);
    await expect(rig.server.removeExport('nothing').catch(codeOf)).resolves.toBe('ERR_NBD_EXPORT_NOT_FOUND 2');
  });

  it('are read-only where they have to be', () => {
    const rig = rigWith();
    const { bdev: readOnly } = addDevice(rig.registry, { name: 'ro', isReadOnly: true });
    const { bdev: claimed } = addDevice(rig.registry, { name: 'claimed' });
    rig.registry.open(claimed, { writable: true }).claim('another array');
    expect(rig.server.addExport({ name: 'ro', bdev: readOnly }).readOnly).toBe(true);
    expect(rig.server.addExport({ name: 'claimed', bdev: claimed }).readOnly).toBe(true);
    expect(() => rig.server.addExport({ name: 'claimed2', bdev: claimed, readOnly: false })).toThrow(
      'claimed by another array',
    );
    expect(rig.server.exports().map(({ name }) => name)).toEqual(['disk', 'ro', 'claimed']);
  });

  it('that are removed answer what is in flight first', async () => {
    const rig = rigWith();
    const wire = await wired(rig);
    rig.driver.isHolding = true;
    const write = wire.client.pwrite(0, pattern(512, 3));
    await until(() => rig.driver.held.length === 1, 'the write is with the device');
    const removed = rig.server.removeExport('disk');
    let isRemoved = false;
    void removed.then(() => (isRemoved = true));
    await turns();
    expect([isRemoved, wire.isClosed, rig.bdev.descriptors.size]).toEqual([false, false, 1]);
    expect(rig.server.exports()).toEqual([]);
    rig.driver.letGo();
    expect((await write).errno).toBe(0);
    await removed;
    expect([wire.isFinished, rig.bdev.descriptors.size]).toEqual([true, 0]);
  });

  it('whose bdev goes away go with it, and no client hangs', async () => {
    const rig = rigWith();
    const wire = await wired(rig);
    const idle = await wired(rig);
    rig.driver.isHolding = true;
    const reads = [wire.client.pread(0, 512), wire.client.pread(700, 512)];
    await until(() => rig.driver.held.length === 2, 'the reads are with the device');
    rig.driver.fault = () => Status.NoDevice;
    const gone = rig.registry.unregister(rig.bdev);
    rig.driver.letGo();
    for (const { errno } of await Promise.all(reads)) expect(errno).toBe(108);
    await gone;
    expect([wire.isFinished, idle.isFinished, rig.server.exports()]).toEqual([true, true, []]);
  });

  it('show a new size to the next client that asks; old connections keep working', async () => {
    const rig = rigWith({ device: { numBlocks: 100 } });
    const { client } = await wired(rig);
    rig.bdev.resize(90);
    expect((await client.pread(90 * 512, 512)).errno).toBe(22);
    expect((await client.pwrite(90 * 512, pattern(512, 1))).errno).toBe(28);
    expect((await client.pread(0, 512)).errno).toBe(0);
    expect((await wired(rig)).client.sizeBytes).toBe(90 * 512);
    rig.bdev.resize(100);
    expect((await wired(rig)).client.sizeBytes).toBe(100 * 512);
    expect((await client.pread(99 * 512, 512)).errno).toBe(0);
    expect(rig.server.exports()[0]!.sizeBytes).toBe(51_200);
  });
});

describe('listening', () => {
  it('lets a client in behind hundreds that came at once and hung up', async () => {
    const rig = rigWith();
    const path = join(folder, 's');
    const { address } = await rig.server.listen({ unix: path });
    // The server is of this thread: it accepts none of them before this loop is over.
    for (let i = 0; i < 600; i++) connect(path).destroy();
    const { client } = await socketed(address);
    await client.open();
    expect((await client.pread(0, 512)).errno).toBe(0);
  });

  it('on a Unix socket, for the owner alone, whatever the umask', async () => {
    const rig = rigWith();
    const path = join(folder, 'a b?.sock');
    const mask = process.umask(0);
    const state = { isOver: false };
    const listening = rig.server.listen({ unix: path }).finally(() => (state.isOver = true));
    // These are the masks that other code's files would get in the turns that this takes.
    const masks = new Set<number>();
    while (!state.isOver) {
      masks.add(process.umask(0));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const listener = await listening;
    expect([...masks]).toEqual([0]);
    expect(process.umask(mask)).toBe(0);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(listener.uri('a/b ü')).toBe(`nbd+unix:///a%2Fb%20%C3%BC?socket=${folder}/a%20b%3F.sock`);
    const { client } = await socketed(listener.address);
    await client.open();
    listener.close();
    expect(existsSync(path)).toBe(false);
    expect((await client.pread(0, 512)).errno).toBe(0);
    await expect(socketed({ unix: path })).rejects.toThrow();
  });

  it.each([
    ['127.0.0.1', 'nbd://127.0.0.1:'],
    ['::1', 'nbd://[::1]:'],
    ['localhost', 'nbd://localhost:'],
  ])('on TCP at %s', async (host, uri) => {
    const rig = rigWith();
    const listener = await rig.server.listen({ host, port: 0 });
    expect(listener.uri('disk')).toMatch(new RegExp(`^${uri.replaceAll('[', '\\[').replaceAll('.', '\\.')}[1-9][0-9]*/disk$`));
    const { client } = await socketed(listener.address);
    await client.open();
    const data = pattern(3 * MiB - 1, 4);
    rigs[0]!.bdev.resize(8000);
    expect((await client.pwrite(1, data.subarray(0, 1_000_000))).errno).toBe(0);
    expectBytes((await client.pread(1, 1_000_000)).data, data.subarray(0, 1_000_000));
  });

  it('replaces the socket of a dead server, and not that of a living one', async () => {
    const rig = rigWith();
    const path = join(folder, 'nbd.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(statSync(path).isSocket()).toBe(true);
    const listener = await rig.server.listen({ unix: path });
    await (await socketed({ unix: path })).client.open();
    const other = rigWith();
    await expect(other.server.listen({ unix: path }).catch(codeOf)).resolves.toBe('ERR_NBD_ADDRESS 98');
    expect(statSync(path).isSocket()).toBe(true);
    listener.close();
    await other.server.listen({ unix: path });
  });

  it('says what is wrong with an address', async () => {
    const rig = rigWith();
    const file = join(folder, 'file');
    writeFileSync(file, 'precious');
    const busy = createServer();
    await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
    const { port } = busy.address() as { port: number };
    const tries: [NbdAddress, string][] = [
      [{ unix: file }, 'ERR_NBD_ADDRESS 17'],
      [{ unix: join(folder, 'no', 'such.sock') }, 'ERR_NBD_ADDRESS 2'],
      [{ unix: `${folder}/${'x'.repeat(107)}` }, 'ERR_NBD_ADDRESS 36'],
      [{ host: '127.0.0.1', port }, 'ERR_NBD_ADDRESS 98'],
    ];
    for (const [address, code] of tries) await expect(rig.server.listen(address).catch(codeOf)).resolves.toBe(code);
    expect(statSync(file).size).toBe(8);
    busy.close();
  });

  it('on several sockets at once', async () => {
    const rig = rigWith();
    const listeners = [
      await rig.server.listen({ unix: join(folder, 'a') }),
      await rig.server.listen({ unix: join(folder, 'b') }),
      await rig.server.listen({ host: '127.0.0.1', port: 0 }),
    ];
    for (const { address } of listeners) await (await socketed(address)).client.open();
    expect(rig.server.connectionCount).toBe(3);
    await rig.server.close();
    expect(existsSync(join(folder, 'a'))).toBe(false);
    await expect(rig.server.listen({ unix: join(folder, 'a') }).catch(codeOf)).resolves.toBe('ERR_NBD_CLOSED 108');
  });
});

describe('a Unix socket', () => {
  it('is not made where every user could put another in its place', async () => {
    const rig = rigWith({});
    const open = join(folder, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    await expect(rig.server.listen({ unix: join(open, 's') })).rejects.toThrow(
      /every user can write to .*open, and replace the socket/,
    );
    // With the sticky bit no user can remove another user's file.
    chmodSync(open, 0o1777);
    await rig.server.listen({ unix: join(open, 's') });
    expect(statSync(join(open, 's')).mode & 0o777).toBe(0o600);
  });

  it.runIf(process.getuid?.() === 0)('is not made in a folder of another user', async () => {
    const rig = rigWith({});
    const foreign = join(folder, 'foreign');
    mkdirSync(foreign);
    chownSync(foreign, 12_345, 12_345);
    await expect(rig.server.listen({ unix: join(foreign, 's') })).rejects.toThrow(/foreign belongs to user 12345/);
  });
});

it.each(['\ud800', 'a\udfffb', 'a\0b'])('an export whose name could not be asked for is refused: %j', (name) => {
  const rig = rigWith({});
  expect(() => rig.server.addExport({ name, bdev: rig.bdev })).toThrow(/without NUL and lone surrogates/);
  expect(() => rig.server.addExport({ name: 'x', bdev: rig.bdev, description: name })).toThrow(
    /the description of an NBD export/,
  );
});

describe('connections', () => {
  it('above the limit are turned away; when one ends there is room again', async () => {
    const rig = rigWith({ server: { maxConnections: 3 } });
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const inside = [await socketed(address), await socketed(address), await socketed(address)];
    for (const { client } of inside) await client.open();
    const { client: late } = await socketed(address);
    await late.ended();
    expect(late.unreadBytes).toBe(0);
    inside[1]!.socket.destroy();
    await until(() => rig.server.connectionCount === 2, 'the server has noticed');
    await (await socketed(address)).client.open();
    expect((await inside[0]!.client.pread(0, 512)).errno).toBe(0);
  });

  it('by the hundred at the same moment all get in', async () => {
    const rig = rigWith({ server: { maxConnections: 200 } });
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const clients = await Promise.all(Array.from({ length: 150 }, () => socketed(address)));
    await Promise.all(clients.map(({ client }) => client.open()));
    const replies = await Promise.all(clients.map(({ client }, i) => client.pread(i * 512, 512)));
    expect(replies.every(({ errno }) => errno === 0)).toBe(true);
  });

  it('that are idle for too long are dropped, if so wished', async () => {
    const rig = rigWith({ server: { idleTimeoutMs: 1000 } });
    const idle = await wired(rig);
    const busy = await wired(rig);
    for (let i = 0; !idle.isClosed; i++) {
      expect((await busy.client.pread(0, 512)).errno).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (i > 2000) throw new Error('never dropped');
    }
    expect([idle.isAborted, busy.isClosed]).toEqual([true, false]);
  });

  it('that break off in the middle of data leave nothing behind', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 } });
    const unix = await rig.server.listen({ unix: join(folder, 's') });
    const tcp = await rig.server.listen({ host: '127.0.0.1', port: 0 });
    for (let round = 0; round < 20; round++) {
      const { client, socket } = await socketed((round % 2 === 0 ? unix : tcp).address);
      await client.open();
      for (let i = 0; i < 30; i++) {
        client.pread(i * 1000, 300 * KiB).catch(() => undefined);
        client.pwrite(i * 777, pattern(50 * KiB, i)).catch(() => undefined);
      }
      client.send(requestBytes('structured', cmd.write, 0, 1n, 0, MiB));
      client.send(Buffer.alloc(10_000));
      await turns(round % 5);
      if (round % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    }
    await until(() => rig.server.connectionCount === 0, 'all connections are gone');
    assertNoLeak(rig);
  });

  it('that do not read hold the server up no longer than they may', async () => {
    const rig = rigWith({ device: { numBlocks: 40_000 }, server: { closeTimeoutMs: 50 } });
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const { client, socket } = await socketed(address);
    await client.open();
    socket.pause();
    for (let i = 0; i < 100; i++) client.pread(0, MiB).catch(() => undefined);
    await until(() => rig.server.usage.bytes > 0, 'replies wait');
    await rig.server.close();
    expect(rig.server.connectionCount).toBe(0);
  });
});

describe('the end', () => {
  it('of the server: what is in flight is answered with success, then everything closes', async () => {
    const rig = rigWith();
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const { client } = await socketed(address);
    await client.open();
    const { client: waiting } = await socketed(address);
    await waiting.greet();
    rig.driver.isHolding = true;
    const writes = Array.from({ length: 20 }, (_, i) => client.pwrite(i * 700, pattern(700, i)));
    const read = client.pread(100_000, 512);
    await until(() => rig.server.usage.requests === 21, 'all requests have arrived');
    const closed = rig.server.close();
    await turns();
    expect(client.isEnded).toBe(false);
    rig.driver.letGo();
    for (const { errno } of await Promise.all([...writes, read])) expect(errno).toBe(0);
    await closed;
    await Promise.all([client.ended(), waiting.ended()]);
    expectBytes(rig.driver.bytes.subarray(0, 14_000), Buffer.concat(Array.from({ length: 20 }, (_, i) => pattern(700, i))));
    await rig.server.close();
  });

  it('by DISC, on a socket: writes sent just before it are carried out and answered', async () => {
    const rig = rigWith();
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const { client } = await socketed(address);
    await client.open();
    const writes = Array.from({ length: 100 }, (_, i) => client.pwrite(i * 1000, pattern(1000, i)));
    client.disconnect();
    for (const { errno } of await Promise.all(writes)) expect(errno).toBe(0);
    await client.ended();
    expectBytes(rig.driver.bytes.subarray(99_000, 100_000), pattern(1000, 99));
  });

  it('of the stream only: what was asked is answered', async () => {
    const rig = rigWith();
    const { address } = await rig.server.listen({ unix: join(folder, 's') });
    const { client, socket } = await socketed(address);
    await client.open();
    const reads = Array.from({ length: 600 }, (_, i) => client.pread(i * 512, 512));
    socket.end();
    for (const { errno } of await Promise.all(reads)) expect(errno).toBe(0);
    await client.ended();
  });

  it('flush covers what was acknowledged on another connection', async () => {
    const rig = rigWith();
    const a = await wired(rig);
    const b = await wired(rig);
    await a.client.pwrite(0, pattern(512, 1));
    await b.client.request(cmd.flush, 0, 0);
    expect(rig.driver.calls.map(({ type }) => type)).toEqual([IoType.Write, IoType.Flush]);
  });

  it('options in the handshake of a server that closes are not answered with lies', async () => {
    const rig = rigWith();
    const wire = connectWire(rig.server, { memory: rig.registry.runtime.memory.u8 });
    await wire.client.greet();
    await wire.client.option(opt.info, goData('disk'));
    await rig.server.close();
    expect(wire.isFinished).toBe(true);
  });
});
