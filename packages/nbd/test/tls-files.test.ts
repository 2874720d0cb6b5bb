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
    else writeFileSync(join(where, name), content);
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
    // What is not needed need not be there.
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

  it('keys of users', () => {
    const keys = join(folder, 'bad-keys');
    for (const [content, message] of [
      ['', `there is no key in ${keys}`],
      ['alice:00ff\nalice\n', `line 2 of ${keys}`],
      ['alice:0', `line 1 of ${keys}`],
      ['alice:xy', `line 1 of ${keys}`],
      [':00', `line 1 of ${keys}`],
    ] as const) {
      writeFileSync(keys, content);
      chmodSync(keys, 0o600);
      expect(errorOf({ keys })).toContain(message);
    }
    expect(errorOf({ keys: join(folder, 'not-there') })).toContain('not-there cannot be read: ENOENT');
    expect(errorOf({ verifyPeer: true })).toContain('TLS needs');
  });
});
