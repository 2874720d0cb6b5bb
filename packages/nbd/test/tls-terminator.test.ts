import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { Socket, createServer } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadAead, loadSys } from '@raidkit/sys';
import type { Ring } from '@raidkit/sys';
import { makeCertificates } from '../../../test/support/certificates.js';
import { TlsTerminator, readTlsCredentials } from '../src/index.js';
import type { TlsCredentials } from '../src/index.js';
import { MiB, expectBytes, pattern, theReactor, turns, until } from './kit.js';
import { folder } from './programs.js';

/**
 * These tests compare what a terminator makes of a client's and a server's bytes: on a ring, with our record layer, and on Node's
 * sockets.
 */

const sys = loadSys();
let ca: string;
let credentials: TlsCredentials;
let ring: Ring;
const open: Duplex[] = [];
const terminators: TlsTerminator[] = [];

beforeAll(async () => {
  const certificates = makeCertificates(folder);
  ca = readFileSync(join(certificates.client, 'ca-cert.pem'), 'utf8');
  credentials = readTlsCredentials({ certificates: certificates.server });
  ({ ring } = await theReactor());
});

afterEach(async () => {
  await turns(1);
  for (const stream of open.splice(0).reverse()) stream.destroy();
  await Promise.all(terminators.splice(0).map((terminator) => terminator.close()));
});

/** The client's way to its socket. */
class Way extends Duplex {
  readonly #send: (chunk: Buffer) => void;

  constructor(send: (chunk: Buffer) => void) {
    super();
    this.#send = send;
  }

  override _read(): void {
    // Data that arrives is pushed.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(chunk);
    done();
  }
}

interface Rig {
  /** The client's socket, in the clear; the server's end of the pair. */
  near: Socket;
  server: Socket;
  /** All that the server has got, behind the client's identity. */
  got: () => Buffer;
  hasEnded: () => boolean;
}

function newRig(isOnRing: boolean): Rig {
  const terminator = new TlsTerminator(credentials, () => undefined, { lingerMs: 200, ring: isOnRing ? ring : null });
  terminators.push(terminator);
  const clients = sys?.sockets.pair();
  const plain = sys?.sockets.pair();
  if (!Array.isArray(clients) || !Array.isArray(plain)) throw new Error('no sockets');
  const [near, server] = [clients[1], plain[1]].map(
    (fd) => new Socket({ fd, readable: true, writable: true, allowHalfOpen: true }),
  );
  if (near === undefined || server === undefined) throw new Error('no sockets');
  open.push(near, server);
  let all = Buffer.alloc(0);
  const parts: Buffer[] = [];
  let isOver = false;
  for (const socket of [near, server]) socket.on('error', () => undefined);
  server
    .on('data', (bytes) => parts.push(bytes))
    .on('end', () => (isOver = true))
    .on('close', () => (isOver = true));
  terminator.take({ fd: clients[0], plainFd: plain[0], peer: 'a test' });
  const got = (): Buffer => {
    all = Buffer.concat([all, ...parts.splice(0)]);
    return all.length < 4 ? Buffer.alloc(0) : all.subarray(4 + all.readUInt32BE(0));
  };
  return { near, server, got, hasEnded: () => isOver };
}

async function secured(socket: Duplex, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const tls = connect({ socket, servername: 'localhost', ca, ...options });
  open.push(tls);
  await new Promise<void>((resolve, reject) => void tls.once('secureConnect', resolve).once('error', reject));
  tls.on('error', () => undefined);
  return tls;
}

/** A client all of whose bytes go through `send`. */
async function through(near: Socket, send: (chunk: Buffer) => void): Promise<TLSSocket> {
  const way = new Way(send);
  near.on('data', (bytes) => way.push(bytes)).on('end', () => way.push(null));
  return secured(way);
}

function collected(stream: Duplex): Buffer[] {
  const parts: Buffer[] = [];
  stream.on('data', (bytes: Buffer) => parts.push(bytes));
  return parts;
}

function total(parts: Buffer[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

it('the ciphers of OpenSSL can be called', () => {
  expect(loadAead()).not.toBeNull();
});

it('a thread that ends before its time leaves neither side waiting, and no descriptor, wherever its clients are', async () => {
  const before = readdirSync('/proc/self/fd').length;
  const silent = newRig(true);
  const begun = newRig(true);
  begun.near.write(Buffer.of(22, 3, 1, 2, 0, 1));
  const done = newRig(true);
  const tls = await secured(done.near);
  tls.write(pattern(10, 1));
  await until(() => done.got().length === 10, 'all is there');
  const held = readdirSync('/proc/self/fd').length;
  for (const terminator of terminators) terminator.abort();
  // This happens at once, because the ring of a thread that ends reports nothing more.
  expect(readdirSync('/proc/self/fd').length).toBe(held - 6);
  for (const { hasEnded } of [silent, begun, done]) await until(hasEnded, 'the server has seen the end');
  await Promise.all(terminators.splice(0).map((terminator) => terminator.close()));
  for (const stream of open.splice(0).reverse()) stream.destroy();
  await until(() => readdirSync('/proc/self/fd').length <= before, 'nothing is left');
});

describe.each([
  ['on a ring', true],
  ['on sockets', false],
])('%s', (_name, isOnRing) => {
  const suites = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
  it.each([...suites, 'TLS 1.2'])('whatever is sent, in whatever pieces, arrives, both ways: %s', async (suite) => {
    const options: ConnectionOptions = suite === 'TLS 1.2' ? { maxVersion: 'TLSv1.2' } : { ciphers: suite };
    const { near, server, got } = newRig(isOnRing);
    const tls = await secured(near, options);
    expect(tls.getProtocol()).toBe(suite === 'TLS 1.2' ? 'TLSv1.2' : 'TLSv1.3');
    const back = collected(tls);
    let said = Buffer.alloc(0);
    let answered = Buffer.alloc(0);
    const size = fc.oneof(fc.nat(20), fc.nat(40_000), fc.constantFrom(16_383, 16_384, 16_385, 700_001));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(size, size), { minLength: 1, maxLength: 12 }), async (pieces) => {
        for (const [to, from] of pieces) {
          const one = pattern(to, said.length);
          const other = pattern(from, answered.length + 1);
          tls.write(one);
          server.write(other);
          said = Buffer.concat([said, one]);
          answered = Buffer.concat([answered, other]);
        }
        await until(() => got().length >= said.length && total(back) >= answered.length, 'all is there');
      }),
      { numRuns: 12 },
    );
    expectBytes(got(), said);
    expectBytes(Buffer.concat(back), answered);
  });

  it('thousands of small writes', async () => {
    const { near, server, got } = newRig(isOnRing);
    const tls = await secured(near);
    const back = collected(tls);
    const all = pattern(60_000, 4);
    for (let at = 0; at < all.length; at += 13) {
      tls.write(all.subarray(at, at + 13));
      if (at % 1300 === 0) await turns(1);
      server.write(all.subarray(at, at + 13));
    }
    await until(() => got().length === all.length && total(back) === all.length, 'all is there');
    expectBytes(got(), all);
    expectBytes(Buffer.concat(back), all);
  });

  it.each([
    [
      'byte by byte',
      (near: Socket) => (chunk: Buffer) => {
        for (const byte of chunk) near.write(Buffer.of(byte));
      },
    ],
    [
      'with all that follows it',
      (near: Socket) => {
        const held: Buffer[] = [];
        return (chunk: Buffer) => {
          if (held.push(chunk) === 1) setTimeout(() => near.write(Buffer.concat(held.splice(0))), 10);
        };
      },
    ],
  ])('the handshake comes %s', async (_how, way) => {
    const { near, got } = newRig(isOnRing);
    const tls = await through(near, way(near));
    for (let i = 0; i < 50; i++) tls.write(pattern(100, i));
    await until(() => got().length === 5000, 'all is there');
    expectBytes(got(), Buffer.concat(Array.from({ length: 50 }, (_, i) => pattern(100, i))));
  });

  it('a client that has said all it has to say still gets its answers; then both are gone', async () => {
    const before = readdirSync('/proc/self/fd').length;
    const { near, server, got, hasEnded } = newRig(isOnRing);
    const tls = await secured(near, { allowHalfOpen: true } as ConnectionOptions);
    const back = collected(tls);
    let isOver = false;
    tls.on('end', () => (isOver = true));
    tls.end(pattern(100_000, 1));
    await until(hasEnded, 'the server has seen the end');
    expectBytes(got(), pattern(100_000, 1));
    // The wait is longer than the client's time limit after the server has closed its end, which it has not.
    await new Promise((resolve) => setTimeout(resolve, 300));
    server.end(pattern(3 * MiB, 2));
    await until(() => isOver, 'the client has seen the end');
    expectBytes(Buffer.concat(back), pattern(3 * MiB, 2));
    for (const stream of open.splice(0).reverse()) stream.destroy();
    await until(() => readdirSync('/proc/self/fd').length <= before, 'nothing is left');
  });

  it('neither side is read faster than the other one takes it', async () => {
    const { near, server, got } = newRig(isOnRing);
    const tls = await secured(near);
    const data = pattern(24 * MiB, 5);
    server.pause();
    tls.pause();
    tls.write(data);
    server.write(data);
    await turns(300);
    // The rest is in buffers of the kernel and of the terminator.
    expect(tls.writableLength).toBeGreaterThan(0);
    expect(server.writableLength).toBeGreaterThan(0);
    const back = collected(tls);
    server.resume();
    tls.resume();
    await until(() => got().length === data.length && total(back) === data.length, 'all is there');
    expectBytes(got(), data);
    expectBytes(Buffer.concat(back), data);
  });

  it('a byte that is changed on the way ends the connection; what came before it is passed on, and nothing else', async () => {
    for (const wrong of [0, 5, 30, 16_000]) {
      const { near, got, hasEnded } = newRig(isOnRing);
      let isBroken = false;
      const tls = await through(near, (chunk) => {
        const copy = Buffer.from(chunk);
        if (isBroken) copy[wrong % copy.length] = (copy[wrong % copy.length] ?? 0) ^ 1;
        near.write(copy);
      });
      let reason = '';
      tls.on('error', (error: Error) => (reason = error.message));
      tls.write(pattern(16_384, 1));
      await until(() => got().length === 16_384, 'the first is there');
      isBroken = true;
      tls.write(pattern(16_384, 2));
      await until(hasEnded, `the server has seen the end with byte ${wrong}`);
      await until(() => tls.destroyed || reason !== '', 'so has the client');
      expectBytes(got(), pattern(16_384, 1));
      if (wrong > 4) expect(reason).toMatch(/bad record mac/i);
    }
  });

  it('a stream that ends in the middle of a record', async () => {
    const { near, got, hasEnded } = newRig(isOnRing);
    let isBroken = false;
    const tls = await through(near, (chunk) => {
      if (!isBroken) near.write(chunk);
      else near.end(chunk.subarray(0, chunk.length - 1));
    });
    tls.write(pattern(1000, 1));
    await until(() => got().length === 1000, 'the first is there');
    isBroken = true;
    tls.write(pattern(1000, 2));
    await until(hasEnded, 'the server has seen the end');
    expectBytes(got(), pattern(1000, 1));
  });

  it('new keys, as openssl asks for them, each way', async () => {
    const { near, server, got } = newRig(isOnRing);
    const path = join(folder, `s_client${String(isOnRing)}`);
    const listener = createServer((socket) => {
      open.push(socket);
      socket.on('error', () => undefined);
      socket.pipe(near).pipe(socket);
    });
    await new Promise<void>((resolve) => void listener.listen(path, resolve));
    const child = spawn('openssl', ['s_client', '-unix', path, '-tls1_3'], { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => out.push(bytes));
    const says = (text: string): Promise<void> => until(() => Buffer.concat(out).includes(text), `it says ${text}`);
    let all = '';
    for (const [i, command] of ['', 'K', 'k', 'K', 'K'].entries()) {
      if (command !== '') {
        const before = Buffer.concat(out).toString().split('KEYUPDATE').length;
        child.stdin.write(`${command}\n`);
        await until(() => Buffer.concat(out).toString().split('KEYUPDATE').length > before, 'it has new keys');
      }
      all += `line ${i}\n`;
      child.stdin.write(`line ${i}\n`);
      await until(() => got().toString() === all, `line ${i} is there`);
      server.write(`answer ${i}\n`);
      await says(`answer ${i}`);
    }
    child.kill();
    listener.close();
  });
});
