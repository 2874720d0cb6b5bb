import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { until } from './support/devices.js';
import { oneDaemon } from './support/one-daemon.js';

const test = oneDaemon();
const before = '00112233445566778899aabbccddeeff';
const after = 'ffeeddccbbaa99887766554433221100';

function option(code: number): Buffer {
  const bytes = Buffer.from('IHAVEOPT\0\0\0\0\0\0\0\0', 'latin1');
  bytes.writeUInt32BE(code, 8);
  return bytes;
}

/** A client that has gone over to TLS with a key. Rejects if the server does not take it. */
async function secured(key: string): Promise<TLSSocket> {
  const raw = connect(test.nbdPath);
  raw.on('error', () => undefined);
  const read = async (bytes: number): Promise<void> => {
    while (raw.readableLength < bytes) await once(raw, 'readable');
    raw.read(bytes);
  };
  await read(18);
  raw.write(Buffer.from([0, 0, 0, 3]));
  raw.write(option(5));
  await read(20);
  const psk = Buffer.from(key, 'hex');
  const tls = connectTls({
    socket: raw,
    pskCallback: () => ({ identity: 'alice', psk }),
    checkServerIdentity: () => undefined,
  });
  await Promise.race([
    once(tls, 'secureConnect'),
    once(tls, 'close').then(() => Promise.reject(new Error('the server does not take the key'))),
  ]);
  // With TLS 1.3 the server sends the last message.
  await list(tls);
  return tls;
}

/** Rejects if the connection has ended. */
async function list(tls: TLSSocket): Promise<void> {
  tls.write(option(3));
  await Promise.race([once(tls, 'data'), once(tls, 'close').then(() => Promise.reject(new Error('the connection has ended')))]);
}

describe.each(['portable', 'uring'])('on the engine %s', (engine) => {
  it('SIGHUP brings new keys for those who come, and those who are there go on', async () => {
    const keys = join(test.folder, 'keys.psk');
    writeFileSync(keys, `alice:${before}\n`, { mode: 0o600 });
    const nbd = ['--nbd', `unix:${test.nbdPath}`, '--tls', 'require', '--tls-psk', keys];
    const { child } = await test.start(['--engine', engine, '--memory', '128', ...nbd]);
    const first = await secured(before);
    await expect(secured(after)).rejects.toThrow();
    writeFileSync(keys, `alice:${after}\n`);
    child.kill('SIGHUP');
    await until('it has read the keys', () => test.daemon!.stderr.includes('have been read again'));
    const second = await secured(after);
    await expect(secured(before)).rejects.toThrow();
    await list(first);
    // A file that is invalid changes nothing.
    writeFileSync(keys, 'alice:xyz\n');
    child.kill('SIGHUP');
    await until('it says so', () => test.daemon!.stderr.includes('the previous ones stay in use'));
    const third = await secured(after);
    for (const tls of [first, second, third]) tls.destroy();
  });
});

it('SIGHUP brings a new token for HTTP; one that is none leaves the old one', async () => {
  const token = join(test.folder, 'token');
  const socketPath = join(test.folder, 'http.sock');
  const write = (text: string): void => writeFileSync(token, `${text}\n`, { mode: 0o600 });
  const statusWith = (given: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${given}` };
      const asked = request({ socketPath, path: '/api/actions', headers, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asked.on('error', reject);
      asked.end();
    });
  write(before);
  const { child } = await test.start([
    '--engine',
    'portable',
    '--memory',
    '64',
    '--http',
    `unix:${socketPath}`,
    '--http-token-file',
    token,
  ]);
  expect(await statusWith(before)).toBe(200);
  write('short');
  child.kill('SIGHUP');
  write(after);
  child.kill('SIGHUP');
  await until('the new token counts', async () => (await statusWith(after)) === 200);
  expect(await statusWith(before)).toBe(401);
});
