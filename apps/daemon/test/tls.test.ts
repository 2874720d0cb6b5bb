import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from '../../../test/support/certificates.js';
import type { CertificateFolders } from '../../../test/support/certificates.js';
import { until } from './support/devices.js';
import { oneDaemon } from './support/one-daemon.js';
import { hasCommands, launch, run, runOk } from './support/process.js';
import type { DaemonProcess } from './support/process.js';

/** Real clients over TLS, on both engines. */
const bin = new URL('../bin/raidkitd.js', import.meta.url).pathname;
const MiB = 1 << 20;
let shared: string;
let certificates: CertificateFolders;
let port: number;
const test = oneDaemon();

beforeAll(() => {
  shared = mkdtempSync(join(tmpdir(), 'raidkitd-certificates-'));
  certificates = makeCertificates(shared);
  writeFileSync(join(shared, 'keys.psk'), 'alice:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n', {
    mode: 0o600,
  });
});
afterAll(() => rmSync(shared, { recursive: true }));

/** A daemon with the exports `one` and `two`. */
async function start(engine: string, ...args: string[]): Promise<DaemonProcess> {
  const nbd = ['--nbd', `unix:${test.nbdPath}`, '--nbd', 'tcp:127.0.0.1:0'];
  const daemon = await test.start([...nbd, '--memory', '128', '--engine', engine, ...args]);
  for (const name of ['one', 'two']) {
    await daemon.client.call('bdev_malloc_create', { name, num_blocks: (32 * MiB) / 512, block_size: 512 });
    await daemon.client.call('raidkit_nbd_export', { bdev_name: name });
  }
  port = Number(/:(\d+)\//.exec((await uris('one'))[1] ?? '')?.[1]);
  return daemon;
}

async function uris(name: string): Promise<string[]> {
  const exports = (await test.daemon?.client.call('raidkit_nbd_get_exports')) as { name: string; uris: string[] }[];
  return exports.find((one) => one.name === name)?.uris ?? [];
}

function tcp(name: string, from: string): string {
  return `nbds://localhost:${port}/${name}?tls-certificates=${from}`;
}

function unix(name: string, from: string): string {
  return `nbds+unix:///${name}?socket=${test.nbdPath}&tls-certificates=${from}`;
}

async function connections(): Promise<number> {
  const exports = (await test.daemon?.client.call('raidkit_nbd_get_exports')) as { connections: number }[];
  return exports.reduce((sum, one) => sum + one.connections, 0);
}

/** A client with four connections that reads and writes for ever. */
function busy(uri: string): string {
  return `
import nbd
users = [nbd.NBD() for _ in range(4)]
for user in users:
    user.set_uri_allow_local_file(True)
    user.connect_uri(${JSON.stringify(uri)})
data = bytes(1 << 20)
while True:
    for user in users:
        user.aio_pread(nbd.Buffer(1 << 20), 0)
        user.pwrite(data, 4 << 20)
`;
}

function descriptors(): number {
  return readdirSync(`/proc/${test.daemon?.child.pid ?? 0}/fd`).length;
}

const required = (): string[] => ['--tls', 'require', '--tls-certificates', certificates.server];

describe.each(['portable', 'uring'])('%s', (engine) => {
  it.skipIf(!hasCommands('nbdinfo', 'nbdcopy'))(
    'nbdinfo and nbdcopy, over TCP and the Unix socket, with four connections each',
    async () => {
      await start(engine, ...required());
      expect(await uris('one')).toEqual([`nbds+unix:///one?socket=${test.nbdPath}`, `nbds://127.0.0.1:${port}/one`]);
      for (const uri of [tcp, unix]) {
        const { exports } = JSON.parse(await runOk('nbdinfo', ['--list', '--json', uri('', certificates.client)])) as {
          exports: Record<string, unknown>[];
        };
        expect(exports.map((one) => one['export-name']).sort()).toEqual(['one', 'two']);
        const source = join(test.folder, 'source');
        const back = join(test.folder, 'back');
        writeFileSync(source, randomBytes(32 * MiB));
        await runOk('nbdcopy', ['--flush', '--connections=4', source, uri('one', certificates.client)]);
        await runOk('nbdcopy', ['--connections=4', uri('one', certificates.client), back]);
        expect(readFileSync(back).equals(readFileSync(source))).toBe(true);
      }
      // Clients without TLS, or that trust another authority, are refused.
      for (const uri of [
        `nbd://localhost:${port}/one`,
        `nbd+unix:///one?socket=${test.nbdPath}`,
        tcp('one', certificates.doubter),
      ]) {
        expect((await run('nbdinfo', [uri])).code).not.toBe(0);
      }
      await until('all clients are gone', async () => (await connections()) === 0);
    },
  );

  it.skipIf(!hasCommands('qemu-img', 'qemu-io'))('qemu, with a certificate and with a key', async () => {
    await start(engine, ...required(), '--tls-verify-peer', '--tls-psk', join(shared, 'keys.psk'));
    const source = join(test.folder, 'source');
    writeFileSync(source, randomBytes(32 * MiB));
    const x509 = ['--object', `tls-creds-x509,id=t,dir=${certificates.client},endpoint=client`];
    const psk = ['--object', `tls-creds-psk,id=t,dir=${shared},endpoint=client,username=alice`];
    const image = (name: string): string => `driver=nbd,host=localhost,port=${port},tls-creds=t,export=${name}`;
    for (const [name, creds] of [
      ['one', x509],
      ['two', psk],
    ] as const) {
      await runOk('qemu-img', [
        'convert',
        ...creds,
        '-n',
        '-W',
        '-m',
        '16',
        '--image-opts',
        `driver=raw,file.driver=file,file.filename=${source}`,
        '--target-image-opts',
        image(name),
      ]);
      await runOk('qemu-img', [
        'compare',
        ...creds,
        '--image-opts',
        `driver=raw,file.driver=file,file.filename=${source}`,
        image(name),
      ]);
      expect(await runOk('qemu-img', ['info', ...creds, '--image-opts', image(name)])).toContain(`(${32 * MiB} bytes)`);
    }
    const strange = ['--object', `tls-creds-x509,id=t,dir=${certificates.stranger},endpoint=client`];
    expect((await run('qemu-img', ['info', ...strange, '--image-opts', image('one')])).code).not.toBe(0);
  });

  it.skipIf(!hasCommands('nbdinfo'))('whose certificate is wanted, and what is not good enough', async () => {
    await start(
      engine,
      '--tls',
      'require',
      '--tls-certificates',
      certificates.serverWithList,
      '--tls-verify-peer',
      '--tls-psk',
      join(shared, 'keys.psk'),
    );
    expect((await runOk('nbdinfo', ['--size', tcp('one', certificates.client)])).trim()).toBe(String(32 * MiB));
    expect(
      (
        await runOk('nbdinfo', ['--size', `nbds://alice@localhost:${port}/one?tls-psk-file=${join(shared, 'keys.psk')}`])
      ).trim(),
    ).toBe(String(32 * MiB));
    for (const from of [certificates.anonymous, certificates.stranger, certificates.revoked]) {
      expect((await run('nbdinfo', [tcp('one', from)])).code).not.toBe(0);
    }
    expect((await run('nbdinfo', [`nbds://eve@localhost:${port}/one?tls-psk-file=${join(shared, 'keys.psk')}`])).code).not.toBe(
      0,
    );
    await until('the log says so', () => (test.daemon?.stderr.match(/TLS/g) ?? []).length >= 4);
  });

  it.skipIf(!hasCommands('nbdinfo'))('where it is only allowed, clients go with and without', async () => {
    await start(engine, '--tls', 'allow', '--tls-certificates', certificates.server);
    for (const uri of [...(await uris('one')), tcp('two', certificates.client), unix('two', certificates.client)]) {
      expect((await runOk('nbdinfo', ['--size', uri])).trim()).toBe(String(32 * MiB));
    }
  });

  it.skipIf(!hasCommands('nbdcopy', 'nbdsh'))(
    'clients that are killed in the middle of their work leave nothing behind; a stop with clients is clean',
    async () => {
      const { child, exited } = await start(engine, ...required());
      await runOk('nbdcopy', [tcp('one', certificates.client), 'null:']);
      await until('the client is gone', async () => (await connections()) === 0);
      const before = descriptors();
      for (let round = 0; round < 5; round++) {
        const users = [tcp('one', certificates.client), unix('two', certificates.client)].map((uri) =>
          launch('nbdsh', ['-c', busy(uri)]),
        );
        await until('they are at work', async () => (await connections()) === 8);
        for (const { kill } of users) kill();
        await Promise.all(users.map(({ ended }) => ended));
        await until('they are gone', async () => (await connections()) === 0 && descriptors() <= before);
      }
      const last = launch('nbdsh', ['-c', busy(unix('one', certificates.client))]);
      await until('the last is at work', async () => (await connections()) === 4);
      child.kill('SIGTERM');
      expect(await exited).toBe(0);
      last.kill();
      await last.ended;
    },
  );

  it('the kernel, which is attached without TLS, is refused', async () => {
    const { client } = await start(engine, ...required());
    expect((await client.ask('nbd_start_disk', { bdev_name: 'one', nbd_device: '/dev/null' })).error).toMatchObject({
      code: -22,
    });
  });
});

it.skipIf(!hasCommands('nbdinfo', 'nbdcopy'))(
  'uring with two reactors: the exports of both, whichever of them the client came in at',
  async () => {
    const { client } = await start('uring', '--reactors', '2', ...required());
    for (const name of ['three', 'four']) {
      await client.call('bdev_malloc_create', { name, num_blocks: (32 * MiB) / 512, block_size: 512, reactor: 1 });
      await client.call('raidkit_nbd_export', { bdev_name: name });
    }
    const names = ['four', 'one', 'three', 'two'];
    const { exports } = JSON.parse(await runOk('nbdinfo', ['--list', '--json', tcp('', certificates.client)])) as {
      exports: Record<string, unknown>[];
    };
    expect(exports.map((one) => one['export-name']).sort()).toEqual(names);
    const source = join(test.folder, 'source');
    const back = join(test.folder, 'back');
    for (const name of names) {
      writeFileSync(source, randomBytes(32 * MiB));
      await runOk('nbdcopy', ['--flush', source, unix(name, certificates.client)]);
      await runOk('nbdcopy', [tcp(name, certificates.client), back]);
      expect(readFileSync(back).equals(readFileSync(source))).toBe(true);
    }
  },
);

describe('the command line', () => {
  it.each([
    [['--tls-certificates', '/tmp'], 'need --tls'],
    [['--tls', 'require'], 'needs --tls-certificates or --tls-psk'],
    [['--tls', 'allow', '--tls-psk', '/dev/null', '--tls-verify-peer'], '--tls-verify-peer needs --tls-certificates'],
    [['--tls', 'require', '--tls-certificates', '/does/not/exist'], '/does/not/exist/server-cert.pem cannot be read: ENOENT'],
    [['--tls', 'require', '--tls-psk', '/dev/null'], '/dev/null is not a file of at most'],
  ])('%j: %s', async (args, message) => {
    const { code, stderr } = await run(process.execPath, [bin, '-r', join(test.folder, 'r'), '--memory', '64', ...args]);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });
});
