import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from '../../../test/support/certificates.js';
import type { CertificateFolders } from '../../../test/support/certificates.js';
import { readTlsCredentials } from '../src/index.js';
import type { TlsFiles } from '../src/index.js';
import { folder } from './programs.js';

let certificates: CertificateFolders;
let spoilts = 0;

beforeAll(() => {
  certificates = makeCertificates(folder);
});

describe('files of certificates and keys', () => {
  const errorOf = (files: TlsFiles): string => {
    try {
      readTlsCredentials(files);
    } catch (error) {
      return (error as Error).message;
    }
    return 'none';
  };

  /** A copy of the server's folder with one file that is different. */
  function spoilt(name: string, content: string | null): string {
    const where = join(folder, `spoilt${spoilts++}`);
    cpSync(certificates.serverWithList, where, { recursive: true });
    if (content === null) execFileSync('rm', [join(where, name)]);
    else writeFileSync(join(where, name), content, { mode: 0o600 });
    return where;
  }

  it.each(['server-cert.pem', 'server-key.pem', 'ca-cert.pem'])('%s: missing, empty and senseless', (name) => {
    for (const [content, message] of [
      [null, 'cannot be read: ENOENT'],
      ['', 'is not a'],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', 'is not a'],
    ] as const) {
      const where = spoilt(name, content);
      expect(errorOf({ certificates: where, verifyPeer: true })).toContain(`${join(where, name)} ${message}`);
    }
    // Files that are not needed may be missing.
    if (name === 'ca-cert.pem') expect(errorOf({ certificates: spoilt(name, null) })).toBe('none');
  });

  it('the list of what was revoked, a key of another certificate, a key with a passphrase', () => {
    const list = spoilt('ca-crl.pem', 'nonsense');
    expect(errorOf({ certificates: list, verifyPeer: true })).toContain(`${join(list, 'ca-crl.pem')} is not a list`);
    const other = spoilt('server-key.pem', readFileSync(join(certificates.client, 'client-key.pem'), 'utf8'));
    expect(errorOf({ certificates: other })).toContain(
      `${join(other, 'server-key.pem')} is not the key of ${join(other, 'server-cert.pem')}`,
    );
    const locked = spoilt(
      'server-key.pem',
      execFileSync('openssl', [
        'pkey',
        '-in',
        join(certificates.server, 'server-key.pem'),
        '-aes256',
        '-passout',
        'pass:secret',
      ]).toString(),
    );
    expect(errorOf({ certificates: locked })).toContain(
      `${join(locked, 'server-key.pem')} is not a private key without a passphrase`,
    );
  });

  it('secrets that every user can read', () => {
    const keys = join(folder, 'open-keys');
    writeFileSync(keys, `alice:${'00'.repeat(16)}\n`);
    const where = spoilt('server-key.pem', readFileSync(join(certificates.serverWithList, 'server-key.pem'), 'utf8'));
    for (const [path, files] of [
      [keys, { keys }],
      [join(where, 'server-key.pem'), { certificates: where }],
    ] as const) {
      chmodSync(path, 0o644);
      expect(errorOf(files)).toBe(`every user can read ${path}, which holds a secret key: chmod o-rwx ${path}`);
      // Its group may read it.
      chmodSync(path, 0o640);
      expect(errorOf(files)).toBe('none');
    }
  });

  it('a pipe, which is not waited for', () => {
    const keys = join(folder, 'pipe-of-keys');
    execFileSync('mkfifo', ['-m', '600', keys]);
    expect(errorOf({ keys })).toBe(`${keys} is not a file of at most 16777216 bytes`);
  });

  it('keys of users', () => {
    const keys = join(folder, 'bad-keys');
    for (const [content, message] of [
      ['', `there is no key in ${keys}`],
      ['alice:00112233445566778899aabbccddeeff\nalice\n', `line 2 of ${keys}`],
      ['alice:0', `line 1 of ${keys}`],
      ['alice:xy', `line 1 of ${keys}`],
      [':00', `line 1 of ${keys}`],
    ] as const) {
      writeFileSync(keys, content);
      chmodSync(keys, 0o600);
      expect(errorOf({ keys })).toContain(message);
    }
    writeFileSync(keys, `alice:${'00'.repeat(16)}\nbob:${'00'.repeat(15)}\n`);
    expect(errorOf({ keys })).toContain(`the key of bob in line 2 of ${keys} has 15 bytes, and needs 16 at least`);
    expect(errorOf({ keys: join(folder, 'not-there') })).toContain('not-there cannot be read: ENOENT');
    expect(errorOf({ verifyPeer: true })).toContain('TLS needs');
  });
});
