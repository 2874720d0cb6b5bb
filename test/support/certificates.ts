import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folders of certificates, with the names that NBD servers and clients look for. */
export interface CertificateFolders {
  /** For the server, and for the clients that it believes. */
  server: string;
  client: string;
  /** A client whose certificate is of another authority, one whose certificate was revoked, and one without any. */
  stranger: string;
  revoked: string;
  anonymous: string;
  /** A client who believes another authority. */
  doubter: string;
  /** As `server`, with the list of what was revoked. */
  serverWithList: string;
}

/** Makes certificates with openssl(1), valid for a day. */
export function makeCertificates(folder: string): CertificateFolders {
  const path = (name: string): string => join(folder, name);
  const names = ['server', 'client', 'stranger', 'revoked', 'anonymous', 'doubter', 'serverWithList'] as const;
  for (const name of ['authority', 'otherAuthority', ...names]) mkdirSync(path(name));
  const openssl = (...args: string[]): void =>
    void execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const authority = (name: string): void => {
    openssl(
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      `${name}/key.pem`,
      '-out',
      `${name}/cert.pem`,
      '-days',
      '1',
      '-subj',
      `/CN=${name}`,
    );
  };
  const certificate = (name: string, role: string, by: string): void => {
    openssl('req', ...newKey, '-keyout', `${name}/${role}-key.pem`, '-out', 'request.pem', '-subj', `/CN=${name}`);
    const signer = [
      '-CA',
      `${by}/cert.pem`,
      '-CAkey',
      `${by}/key.pem`,
      '-CAcreateserial',
      '-days',
      '1',
      '-extfile',
      'extensions',
    ];
    openssl('x509', '-req', '-in', 'request.pem', ...signer, '-out', `${name}/${role}-cert.pem`);
  };
  writeFileSync(path('extensions'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  authority('authority');
  authority('otherAuthority');
  certificate('server', 'server', 'authority');
  certificate('client', 'client', 'authority');
  certificate('stranger', 'client', 'otherAuthority');
  certificate('revoked', 'client', 'authority');
  for (const name of names) copyFileSync(path('authority/cert.pem'), path(`${name}/ca-cert.pem`));
  copyFileSync(path('otherAuthority/cert.pem'), path('doubter/ca-cert.pem'));
  for (const name of ['server-cert.pem', 'server-key.pem'])
    copyFileSync(path(`server/${name}`), path(`serverWithList/${name}`));
  writeFileSync(path('index'), '');
  writeFileSync(
    path('ca.conf'),
    '[ca]\ndefault_ca = own\n[own]\ndatabase = index\ndefault_md = sha256\ndefault_crl_days = 1\n',
  );
  const ca = ['ca', '-config', 'ca.conf', '-cert', 'authority/cert.pem', '-keyfile', 'authority/key.pem'];
  openssl(...ca, '-revoke', 'revoked/client-cert.pem');
  openssl(...ca, '-gencrl', '-out', 'serverWithList/ca-crl.pem');
  return Object.fromEntries(names.map((name) => [name, path(name)])) as unknown as CertificateFolders;
}
