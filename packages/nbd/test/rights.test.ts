import { readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { makeCertificates } from '../../../test/support/certificates.js';
import type { CertificateFolders } from '../../../test/support/certificates.js';
import { listenerName, readTlsCredentials } from '../src/index.js';
import type { ClientRule, NbdAddress } from '../src/index.js';
import { goData, metaData, opt, rep } from './client.js';
import type { OptionAnswer, TestClient } from './client.js';
import { KiB, MiB, addDevice, assertNoLeak, newRig, turns } from './kit.js';
import type { Rig } from './kit.js';
import { folder } from './programs.js';
import { connectSocket } from './socket-client.js';
import { secure } from './tls-client.js';

// Tests of who may use which export. With RAIDKIT_ENGINE=uring TLS is done by a terminator, which identifies the client.

const unknown = 0x80000006;
const keyOf = { alice: '00112233445566778899aabbccddeeff', bob: 'ffeeddccbbaa99887766554433221100' };
let certificates: CertificateFolders;
let rig: Rig;
const sockets: Socket[] = [];
let socketNumber = 0;

beforeAll(() => {
  certificates = makeCertificates(folder);
});

afterEach(async () => {
  await turns(1);
  for (const socket of sockets.splice(0).reverse()) socket.destroy();
  await rig.server.close();
  assertNoLeak(rig);
});

async function serve(rules: Record<string, ClientRule[]>, withTls: 'keys' | 'certificates' | null): Promise<NbdAddress> {
  const keys = join(folder, 'rights.psk');
  writeFileSync(
    keys,
    Object.entries(keyOf)
      .map(([user, key]) => `${user}:${key}`)
      .join('\n'),
    { mode: 0o600 },
  );
  const files =
    withTls === 'keys' ? { keys, certificates: certificates.server } : { certificates: certificates.server, verifyPeer: true };
  const tls = withTls === null ? {} : { tls: { isRequired: true, credentials: readTlsCredentials(files) } };
  rig = newRig({ device: { numBlocks: 32 * KiB }, server: tls });
  for (const [name, clients] of Object.entries(rules))
    rig.server.addExport({ name, clients, bdev: addDevice(rig.registry, { name, numBlocks: MiB / 512 }).bdev });
  return (await rig.server.listen({ unix: join(folder, `r${socketNumber++}`) })).address;
}

async function greeted(address: NbdAddress): Promise<{ client: TestClient; socket: Socket }> {
  const found = await connectSocket(address);
  sockets.push(found.socket);
  await found.client.greet();
  return found;
}

async function secured(address: NbdAddress, options: ConnectionOptions): Promise<TestClient> {
  const { client, socket } = await greeted(address);
  await client.option(opt.startTls);
  const found = await secure(socket, { ca: readFileSync(join(certificates.client, 'ca-cert.pem')), ...options });
  sockets.push(found.tls);
  return found.client;
}

function withKey(user: keyof typeof keyOf, version: 'TLSv1.2' | 'TLSv1.3'): ConnectionOptions {
  return {
    pskCallback: () => ({ identity: user, psk: Buffer.from(keyOf[user], 'hex') }),
    ...(version === 'TLSv1.2' ? { ciphers: 'ECDHE-PSK-CHACHA20-POLY1305' } : {}),
    minVersion: version,
    maxVersion: version,
    checkServerIdentity: () => undefined,
  };
}

async function listed(client: TestClient): Promise<string[]> {
  const answers = await client.option(opt.list);
  return answers
    .filter(({ type }) => type === rep.server)
    .map(({ data }) => data.toString('utf8', 4, 4 + data.readUInt32BE(0)));
}

function types(answers: OptionAnswer[]): number[] {
  return answers.map(({ type }) => type);
}

/** Returns the answer of each option that names an export: the same as for an export that does not exist. */
async function expectNotThere(client: TestClient, name: string): Promise<void> {
  await client.option(opt.structuredReply);
  const strange = 'there is none of this name';
  for (const [option, data] of [
    [opt.info, goData],
    [opt.go, goData],
    [opt.listMeta, (of: string) => metaData(of, [])],
    [opt.setMeta, (of: string) => metaData(of, ['base:allocation'])],
  ] as const) {
    const answers = await client.option(option, data(name));
    expect(types(answers)).toEqual([unknown]);
    expect(answers.map(({ data: text }) => text.toString())).toEqual(
      (await client.option(option, data(strange))).map(({ data: text }) => text.toString()),
    );
  }
}

async function mayWrite(client: TestClient, name: string): Promise<boolean> {
  expect(types(await client.option(opt.structuredReply))).toEqual([rep.ack]);
  expect(types(await client.option(opt.go, goData(name)))).toEqual([rep.info, rep.ack]);
  client.start('structured');
  expect((await client.pread(0, 512)).errno).toBe(0);
  const { errno } = await client.pwrite(0, Buffer.alloc(512));
  expect([0, 1]).toContain(errno);
  return errno === 0;
}

it.each(['TLSv1.2', 'TLSv1.3'] as const)('clients with keys do not see each other’s exports, with %s', async (version) => {
  const address = await serve(
    {
      hers: [{ tlsUser: 'alice' }],
      his: [{ tlsUser: 'bob' }],
      both: [{ tlsUser: 'alice' }, { tlsUser: 'bob', readOnly: true }],
    },
    'keys',
  );
  const alice = await secured(address, withKey('alice', version));
  const bob = await secured(address, withKey('bob', version));
  // A client without an identity, but with TLS.
  const other = await secured(address, {});
  expect(await listed(alice)).toEqual(['disk', 'hers', 'both']);
  expect(await listed(bob)).toEqual(['disk', 'his', 'both']);
  expect(await listed(other)).toEqual(['disk']);
  await expectNotThere(alice, 'his');
  await expectNotThere(bob, 'hers');
  await expectNotThere(other, 'both');
  expect(await mayWrite(alice, 'both')).toBe(true);
  expect(await mayWrite(bob, 'both')).toBe(false);
  expect(await mayWrite(await secured(address, withKey('alice', version)), 'hers')).toBe(true);
  expect(rig.server.exports().find(({ name }) => name === 'both')?.connections).toBe(2);
  // Both connections are closed with the export.
  await rig.server.removeExport('both');
  expect(rig.server.connectionCount).toBe(2);
});

it('clients with certificates are told apart by their subjects', async () => {
  const address = await serve({ hers: [{ certificate: 'CN=client' }], his: [{ certificate: 'CN=client2' }] }, 'certificates');
  const files = {
    cert: readFileSync(join(certificates.client, 'client-cert.pem')),
    key: readFileSync(join(certificates.client, 'client-key.pem')),
  };
  const client = await secured(address, files);
  expect(await listed(client)).toEqual(['disk', 'hers']);
  await expectNotThere(client, 'his');
  expect(await mayWrite(client, 'hers')).toBe(true);
});

it('clients are told apart by the listener that they come in by', async () => {
  const first: NbdAddress = { unix: join(folder, 'first') };
  const second: NbdAddress = { unix: join(folder, 'second') };
  await serve({ one: [{ listener: listenerName(first) }], two: [{ listener: listenerName(second), readOnly: true }] }, null);
  for (const address of [first, second]) await rig.server.listen(address);
  const [one, two] = [(await greeted(first)).client, (await greeted(second)).client];
  expect(await listed(one)).toEqual(['disk', 'one']);
  expect(await listed(two)).toEqual(['disk', 'two']);
  await expectNotThere(one, 'two');
  await expectNotThere(two, 'one');
  expect(await mayWrite(one, 'one')).toBe(true);
  expect(await mayWrite(two, 'two')).toBe(false);
  const anonymous = { tlsUser: null, certificate: null, requests: 0, bytes: 0 };
  const clients = [
    { exportName: 'one', listener: listenerName(first), readOnly: false, ...anonymous },
    { exportName: 'two', listener: listenerName(second), readOnly: true, ...anonymous },
  ];
  // A request counts until its reply has left, which the client may see first.
  await expect.poll(() => rig.server.clients()).toMatchObject(clients);
});

it('a key that a client names and does not have is none, though its certificate is good', async () => {
  const address = await serve({ hers: [{ tlsUser: 'alice' }] }, 'keys');
  const pretended: ConnectionOptions = {
    pskCallback: () => ({ identity: 'alice', psk: Buffer.alloc(16) }),
    ciphers: 'TLS_AES_256_GCM_SHA384:ECDHE+AESGCM',
    checkServerIdentity: () => undefined,
  };
  const client = await secured(address, pretended).catch(() => null);
  if (client !== null) expect(await listed(client)).toEqual(['disk']);
});

it('rules that say nothing, and none at all, are refused', async () => {
  await serve({}, null);
  const { bdev } = addDevice(rig.registry, { name: 'x', numBlocks: MiB / 512 });
  const add = (clients: ClientRule[]) => () => rig.server.addExport({ name: 'x', bdev, clients });
  expect(add([])).toThrow(/1 to 1000 access rules/);
  expect(add([{ tlsUser: 'alice' }, { readOnly: true }])).toThrow(/rule 1 .* names no listener, TLS user or certificate/);
});

it('an export that cannot be made for readers lets go of the device', () => {
  rig = newRig();
  const { bdev } = addDevice(rig.registry, { name: 'm1' });
  const { registry } = rig;
  const open = registry.open.bind(registry);
  registry.open = (which, options) => {
    if (options?.writable !== true) throw new Error('no more descriptors');
    return open(which, options);
  };
  const clients = [{ listener: 'unix:/test', readOnly: true }, { listener: 'unix:/other' }];
  expect(() => rig.server.addExport({ name: 'one', bdev, clients })).toThrow('no more descriptors');
  registry.open = open;
  expect(bdev.descriptors.size).toBe(0);
  expect(rig.server.addExport({ name: 'one', bdev, clients })).toMatchObject({ name: 'one' });
});
