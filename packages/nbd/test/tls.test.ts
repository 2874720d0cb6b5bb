import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from '../../../test/support/certificates.js';
import type { CertificateFolders } from '../../../test/support/certificates.js';
import { readTlsCredentials } from '../src/index.js';
import type { NbdAddress, NbdServerOptions, TlsFiles } from '../src/index.js';
import { cmd, goData, metaData, opt, optionBytes, rep, requestBytes } from './client.js';
import type { OptionAnswer, TestClient } from './client.js';
import { KiB, MiB, assertNoLeak, expectBytes, newRig, pattern, turns, until } from './kit.js';
import type { Rig } from './kit.js';
import { folder } from './programs.js';
import { connectSocket } from './socket-client.js';
import { secure } from './tls-client.js';
import type { Secured } from './tls-client.js';

/**
 * Tests of TLS, from the option to the end of the connection. With RAIDKIT_ENGINE=uring a terminator does TLS, which leaves
 * records to Node with RAIDKIT_TLS_RECORDS=node.
 */

const tlsReqd = 0x80000005;
let certificates: CertificateFolders;
let ca: string;
const rigs: Rig[] = [];
const sockets: Socket[] = [];
let socketNumber = 0;

beforeAll(() => {
  certificates = makeCertificates(folder);
  ca = readFileSync(join(certificates.client, 'ca-cert.pem'), 'utf8');
});

afterEach(async () => {
  await hangUp();
  for (const rig of rigs.splice(0)) {
    await rig.server.close();
    assertNoLeak(rig);
  }
});

/** In a turn of its own, and TLS first: a socket that is destroyed under TLS while that is at work ends the process. */
async function hangUp(): Promise<void> {
  await turns(1);
  for (const socket of sockets.splice(0).reverse()) socket.destroy();
}

interface Served {
  rig: Rig;
  address: NbdAddress;
}

async function serve(isRequired = true, files: TlsFiles = {}, options: Partial<NbdServerOptions> = {}): Promise<Served> {
  const where = files.keys === undefined ? { certificates: certificates.server, ...files } : files;
  const credentials = readTlsCredentials(where);
  const rig = newRig({ device: { numBlocks: 32 * KiB }, server: { tls: { isRequired, credentials }, ...options } });
  rigs.push(rig);
  const { address } = await rig.server.listen({ unix: join(folder, `s${socketNumber++}`) });
  return { rig, address };
}

async function greeted(address: NbdAddress, clientFlags = 3): Promise<{ client: TestClient; socket: Socket }> {
  const found = await connectSocket(address);
  sockets.push(found.socket);
  await found.client.greet(clientFlags);
  return found;
}

function types(answers: OptionAnswer[]): number[] {
  return answers.map(({ type }) => type);
}

async function secured(address: NbdAddress, options?: ConnectionOptions): Promise<Secured> {
  const { client, socket } = await greeted(address);
  expect(types(await client.option(opt.startTls))).toEqual([rep.ack]);
  const found = await secure(socket, { ca, ...options });
  sockets.push(found.tls);
  return found;
}

/** After the handshake, up to the transmission phase. */
async function opened(address: NbdAddress, options?: ConnectionOptions): Promise<Secured> {
  const found = await secured(address, options);
  const { client } = found;
  expect(types(await client.option(opt.structuredReply))).toEqual([rep.ack]);
  expect(types(await client.option(opt.go, goData('disk')))).toEqual([rep.info, rep.ack]);
  client.start('structured');
  return found;
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('before TLS', () => {
  it('where it is required, every option but STARTTLS and ABORT is refused', async () => {
    const { address } = await serve();
    const { client } = await greeted(address);
    for (const [option, data] of [
      [opt.list, undefined],
      [opt.info, goData('disk')],
      [opt.go, goData('disk')],
      [opt.structuredReply, undefined],
      [opt.extendedHeaders, undefined],
      [opt.listMeta, metaData('disk', [])],
      [opt.setMeta, metaData('disk', [])],
      [opt.go, Buffer.alloc(3)],
      [99, Buffer.alloc(5000)],
    ] as const) {
      expect(types(await client.option(option, data))).toEqual([tlsReqd]);
    }
    expect(types(await client.option(opt.startTls, Buffer.alloc(1)))).toEqual([rep.invalid]);
    expect(types(await client.option(opt.abort))).toEqual([rep.ack]);
    await client.ended();
  });

  it('where it is required, EXPORT_NAME, and a client that knows no options, end the connection', async () => {
    const { address } = await serve();
    const { client } = await greeted(address);
    client.send(optionBytes(opt.exportName, Buffer.from('disk')));
    await client.ended();
    expect(client.unreadBytes).toBe(0);
    const { client: old } = await greeted(address, 2);
    await old.ended();
  });

  it('where it is allowed, everything goes without, but not STARTTLS for a client that knows no options', async () => {
    const { rig, address } = await serve(false);
    const { client } = await connectSocket(address);
    await client.open();
    expect((await client.pread(0, 512)).errno).toBe(0);
    const { client: old } = await greeted(address, 0);
    expect(types(await old.option(opt.startTls))).toEqual([rep.unsup]);
    const { client: tls } = await opened(address);
    expect((await tls.pread(0, 512)).errno).toBe(0);
    expect(rig.server.connectionCount).toBe(3);
  });

  it('nothing that was agreed on in the clear counts afterwards', async () => {
    const { address } = await serve(false);
    const { client: before, socket } = await greeted(address);
    await before.option(opt.structuredReply);
    expect(types(await before.option(opt.setMeta, metaData('disk', ['base:allocation'])))).toEqual([rep.meta, rep.ack]);
    expect(types(await before.option(opt.startTls))).toEqual([rep.ack]);
    const { client } = await secure(socket, { ca });
    expect(types(await client.option(opt.setMeta, metaData('disk', ['base:allocation'])))).toEqual([rep.invalid]);
    expect(types(await client.option(opt.go, goData('disk')))).toEqual([rep.info, rep.ack]);
    client.start('simple');
    expect((await client.request(cmd.blockStatus, 0, 512)).errno).toBe(22);
    expect((await client.pread(0, 512)).chunks).toEqual([]);
  });

  it.each([
    ['in one go with STARTTLS', 0],
    ['a moment later', 1],
  ])('what comes in the clear behind STARTTLS is never carried out: %s', async (_name, delay) => {
    const { rig, address } = await serve(false);
    const { client } = await greeted(address);
    const evil = Buffer.concat([
      optionBytes(opt.go, goData('disk')),
      requestBytes('simple', cmd.write, 0, 1n, 0, 512),
      Buffer.alloc(512, 1),
    ]);
    if (delay === 0) {
      client.send(Buffer.concat([optionBytes(opt.startTls), evil]));
    } else {
      client.send(optionBytes(opt.startTls));
      await client.answers(opt.startTls);
      client.send(evil);
    }
    await client.ended();
    await until(() => rig.server.connectionCount === 0, 'the connection is gone');
    expect(rig.driver.calls).toEqual([]);
    expect(rig.driver.bytes.every((byte) => byte === 0)).toBe(true);
  });
});

describe('with TLS', () => {
  it('everything works as it does without, over TCP too; a second STARTTLS is an error', async () => {
    const { rig } = await serve();
    for (const where of [{ unix: join(folder, `s${socketNumber++}`) }, { host: '127.0.0.1', port: 0 }]) {
      const listener = await rig.server.listen(where);
      expect(listener.uri('disk')).toMatch(/^nbds/);
      const { client, tls } = await secured(listener.address);
      expect(tls.getProtocol()).toBe('TLSv1.3');
      expect(types(await client.option(opt.startTls))).toEqual([rep.invalid]);
      expect(types(await client.option(opt.list))).toEqual([rep.server, rep.ack]);
      expect(types(await client.option(opt.extendedHeaders))).toEqual([rep.ack]);
      expect(types(await client.option(opt.setMeta, metaData('disk', ['base:allocation'])))).toEqual([rep.meta, rep.ack]);
      expect(types(await client.option(opt.go, goData('disk')))).toEqual([rep.info, rep.ack]);
      client.start('extended');
      const data = pattern(3 * MiB, socketNumber);
      expect((await client.pwrite(1234, data)).errno).toBe(0);
      expectBytes(rig.driver.bytes.subarray(1234, 1234 + data.length), data);
      expectBytes((await client.pread(1234, data.length)).data, data);
      expect((await client.request(cmd.blockStatus, 0, 4096)).extents).toHaveLength(1);
      client.disconnect();
      await client.ended();
    }
  });

  it('hundreds of requests of many clients at once, each with its own answer', async () => {
    const { rig, address } = await serve();
    const all = await Promise.all(Array.from({ length: 40 }, () => opened(address)));
    const work = all.flatMap(({ client }, i) =>
      Array.from({ length: 12 }, async (_, j) => {
        const at = (i * 12 + j) * 30_000;
        const data = pattern(29_000 + j, i * 100 + j);
        expect((await client.pwrite(at, data)).errno).toBe(0);
        expectBytes((await client.pread(at, data.length)).data, data);
      }),
    );
    await Promise.all(work);
    expect(rig.server.connectionCount).toBe(40);
  });

  it('a client that takes no replies is held back, and gets all of them later', async () => {
    const { rig, address } = await serve();
    const data = pattern(16 * MiB, 3);
    data.copy(rig.driver.bytes);
    const { client, tls } = await opened(address);
    tls.pause();
    const replies = Array.from({ length: 128 }, (_, i) => client.pread(i * 100_000, 512 * KiB));
    await until(() => rig.server.usage.bytes > 0, 'requests have come');
    await turns(200);
    expect(rig.server.usage.bytes).toBeGreaterThan(0);
    // The rest waits in buffers of the kernel and of the client.
    expect(rig.server.exports()[0]!.stats.readBytes).toBeLessThan(24 * MiB);
    tls.resume();
    for (const [i, reply] of (await Promise.all(replies)).entries())
      expectBytes(reply.data, data.subarray(i * 100_000, i * 100_000 + 512 * KiB));
  });

  it('a client that has said all it has to say gets its answers', async () => {
    const { rig, address } = await serve();
    const { client, tls } = await opened(address);
    const reply = client.pread(0, 4 * MiB);
    const write = client.pwrite(5 * MiB, pattern(MiB, 9));
    tls.end();
    expect((await reply).errno).toBe(0);
    expect((await write).errno).toBe(0);
    await client.ended();
    expectBytes(rig.driver.bytes.subarray(5 * MiB, 6 * MiB), pattern(MiB, 9));
  });

  it('nothing older than TLS 1.2', async () => {
    const { address } = await serve();
    // The client would accept TLS 1.1, and the server refuses it.
    const old = { minVersion: 'TLSv1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
    await expect(secured(address, { ...old, maxVersion: 'TLSv1.1' })).rejects.toThrow(/alert|version/);
    const { tls } = await secured(address, { ...old, maxVersion: 'TLSv1.2' });
    expect(tls.getProtocol()).toBe('TLSv1.2');
  });
});

describe('who is let in', () => {
  const from = (where: string): ConnectionOptions => ({
    cert: readFileSync(join(where, 'client-cert.pem')),
    key: readFileSync(join(where, 'client-key.pem')),
  });

  /** With TLS 1.3 a client hears of its refusal only after its own part of the handshake. */
  async function refused(address: NbdAddress, options: ConnectionOptions): Promise<void> {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await expect(
        (async () => {
          const { client } = await secured(address, { ...options, maxVersion });
          await client.option(opt.list);
        })(),
      ).rejects.toThrow();
    }
  }

  it('with verification, clients whose certificate is of the authority, and no others', async () => {
    const { rig, address } = await serve(true, { verifyPeer: true });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      expect((await (await opened(address, { ...from(certificates.client), maxVersion })).client.pread(0, 512)).errno).toBe(0);
    }
    expect((await (await opened(address, from(certificates.revoked))).client.pread(0, 512)).errno).toBe(0);
    await refused(address, {});
    await refused(address, from(certificates.stranger));
    await until(() => rig.server.connectionCount === 3, 'those refused are gone');
  });

  it('and none whose certificate was revoked, if there is a list', async () => {
    const { address } = await serve(true, { verifyPeer: true, certificates: certificates.serverWithList });
    expect((await (await opened(address, from(certificates.client))).client.pread(0, 512)).errno).toBe(0);
    await refused(address, from(certificates.revoked));
  });

  it.each([false, true])('with keys, clients that have one; with certificates beside them: %s', async (hasCertificates) => {
    const keys = join(folder, 'keys');
    writeFileSync(keys, '# users\nalice:00112233445566778899aabbccddeeff\n\nbob:ffeeddccbbaa99887766554433221100\n', {
      mode: 0o600,
    });
    const { address } = await serve(true, { keys, ...(hasCertificates ? { certificates: certificates.server } : {}) });
    const withKey = (identity: string, psk: string): ConnectionOptions => ({
      pskCallback: () => ({ identity, psk: Buffer.from(psk, 'hex') }),
      ciphers: 'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384',
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
    });
    expect(
      (await (await opened(address, withKey('alice', '00112233445566778899aabbccddeeff'))).client.pread(0, 512)).errno,
    ).toBe(0);
    await expect(secured(address, withKey('alice', 'ffeeddccbbaa99887766554433221100'))).rejects.toThrow();
    await expect(secured(address, withKey('eve', '00112233445566778899aabbccddeeff'))).rejects.toThrow();
    if (hasCertificates) expect((await (await opened(address)).client.pread(0, 512)).errno).toBe(0);
    else await expect(secured(address)).rejects.toThrow();
  });
});

describe('hostile and broken clients', () => {
  it('garbage and silence in place of a handshake end the connection', async () => {
    const { rig, address } = await serve(true, {}, { handshakeTimeoutMs: 2000 });
    const { client: noisy } = await greeted(address);
    await noisy.option(opt.startTls);
    noisy.send(Buffer.alloc(5000, 'garbage'));
    const { client: silent } = await greeted(address);
    await silent.option(opt.startTls);
    // The client starts TLS, but then chooses no export.
    const { client: slow } = await secured(address);
    await Promise.all([noisy.ended(), silent.ended(), slow.ended()]);
    await until(() => rig.server.connectionCount === 0, 'all are gone');
  });

  it('clients in the handshake keep no others out, and those too many after it are turned away', async () => {
    const { rig, address } = await serve(true, {}, { maxConnections: 6 });
    for (let i = 0; i < 12; i++) await (await greeted(address)).client.option(opt.startTls);
    expect(rig.server.connectionCount).toBe(12);
    for (let i = 0; i < 6; i++) expect((await (await opened(address)).client.pread(0, 512)).errno).toBe(0);
    await expect(greeted(address)).rejects.toThrow('ended');
    await hangUp();
    await until(() => rig.server.connectionCount === 0, 'there is room again');
    expect((await (await opened(address)).client.pread(0, 512)).errno).toBe(0);
  });

  it('those that break off anywhere in the handshake, by hanging up or by an end, leave nothing behind', async () => {
    const { rig, address } = await serve();
    if (!('unix' in address)) throw new Error('not a Unix socket');
    const before = descriptors();
    for (let cut = 30; cut < 900; cut += 13) {
      // Passes on so many bytes of the client's, and then ends one way or the other.
      let left = cut;
      const middle = createServer((near) => {
        const far = connect(address.unix);
        near.on('error', () => undefined).on('close', () => far.destroy());
        far.on('error', () => undefined).on('close', () => near.destroy());
        far.pipe(near);
        near.on('data', (bytes) => {
          if (left > 0) far.write(bytes.subarray(0, left));
          left -= bytes.length;
          if (left > 0) return;
          if (cut % 2 === 0) far.end();
          else setImmediate(() => far.destroy());
        });
      });
      const path = join(folder, `middle${cut}`);
      await new Promise<void>((resolve) => void middle.listen(path, resolve));
      await opened({ unix: path }).then(
        async ({ client }) => client.pread(0, 512).catch(() => undefined),
        () => undefined,
      );
      await hangUp();
      middle.close();
    }
    await until(() => rig.server.connectionCount === 0 && descriptors() <= before, 'all are gone');
    expect((await (await opened(address)).client.pread(0, 512)).errno).toBe(0);
  });

  it('those that vanish in the middle of a transfer leave nothing behind', async () => {
    const { rig, address } = await serve();
    await opened(address);
    await hangUp();
    await until(() => rig.server.connectionCount === 0, 'the first is gone');
    const before = descriptors();
    for (let round = 0; round < 30; round++) {
      const { client, raw, tls } = await opened(address);
      for (let i = 0; i < 20; i++) {
        client.pread(i * 512, 256 * KiB).catch(() => undefined);
        client.pwrite((i * MiB) / 2, Buffer.alloc(256 * KiB)).catch(() => undefined);
      }
      await turns(1 + (round % 9));
      if (round % 2 === 0) raw.destroy();
      else tls.destroy();
    }
    await until(() => rig.server.connectionCount === 0 && descriptors() <= before, 'all are gone');
    assertNoLeak(rig);
    expect((await (await opened(address)).client.pread(0, 512)).errno).toBe(0);
  });

  it('one that takes nothing, and that the server has given up, is not kept by any part of the server', async () => {
    const { rig, address } = await serve(true, {}, { closeTimeoutMs: 100 });
    const before = descriptors();
    const { client, tls } = await opened(address);
    tls.pause();
    for (let i = 0; i < 64; i++) client.pread(0, 512 * KiB).catch(() => undefined);
    await until(() => rig.server.usage.bytes > 0, 'requests have come');
    await turns(200);
    await rig.server.removeExport('disk');
    expect(rig.server.connectionCount).toBe(0);
    // The test's own end of the connection is still there.
    await until(() => descriptors() <= before + 1, 'the server holds nothing of it any more');
  });

  it('one whose record is not authentic is sent away, although it stays', async () => {
    const { rig, address } = await serve();
    const { raw } = await opened(address);
    // The bytes bypass TLS, as if an attacker on the network had sent them.
    raw.write(Buffer.concat([Buffer.of(23, 3, 3, 0, 40), Buffer.alloc(40)]));
    await until(() => rig.server.connectionCount === 0, 'it is gone');
  });

  it('a server that closes answers what is in flight, and ends those in the handshake', async () => {
    const { rig, address } = await serve();
    const { client, socket } = await greeted(address);
    await client.option(opt.startTls);
    const { client: idle } = await opened(address);
    const { client: busy } = await opened(address);
    rig.driver.isHolding = true;
    const read = busy.pread(0, 300 * KiB);
    await until(() => rig.driver.held.length > 0, 'the read is under way');
    const closed = rig.server.close();
    rig.driver.letGo();
    expect((await read).errno).toBe(0);
    await Promise.all([closed, idle.ended(), busy.ended(), client.ended()]);
    socket.destroy();
  });
});
