import { X509Certificate, constants, createPrivateKey } from 'node:crypto';
import { closeSync, constants as files, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { Status } from '@raidkit/bdev';
import { NbdError } from '../errors.js';
import { noteOffer } from './identity.js';

/** Whether clients may use TLS, or must. */
export type TlsMode = 'off' | 'allow' | 'require';

/** How a server authenticates itself, and how clients must. Plain data, so that it can be sent to another thread. */
export interface TlsCredentials {
  /** Certificate chain and private key in PEM; null if clients use keys only. */
  readonly certificate: { readonly chain: string; readonly key: string } | null;
  /** Clients must have a certificate of one of these authorities, in PEM; null if they need none. */
  readonly clientCa: { readonly certificates: string; readonly revoked: string | null } | null;
  /** Pre-shared keys that clients may use instead of a certificate, by user. */
  readonly keys: ReadonlyMap<string, Uint8Array> | null;
}

/** The files that {@link readTlsCredentials} reads. */
export interface TlsFiles {
  /**
   * A folder with `server-cert.pem` and `server-key.pem`. To verify clients it must also contain `ca-cert.pem`, and may contain
   * `ca-crl.pem`.
   */
  certificates?: string;
  /** Whether clients need a certificate. Default false. */
  verifyPeer?: boolean;
  /** A file with lines of `user:key`. The key is at least 16 bytes in hexadecimal digits. */
  keys?: string;
}

const oldestVersion = 'TLSv1.2';
/** Shortest pre-shared key, in bytes. An attacker who has recorded a handshake can try keys offline. */
const fewestKeyBytes = 16;
const othersRead = 0o004;
/** Largest file that is read, in bytes. */
const mostFileBytes = 16 * 1024 * 1024;
/**
 * All suites have forward secrecy and authenticated encryption. In TLS 1.3, pre-shared keys work only with SHA-256, so a suite
 * with it comes first.
 */
const newSuites = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384';
const certificateSuites = 'ECDHE+AESGCM:ECDHE+CHACHA20';
const keySuites = 'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256';

/** Returns the mode of the handshake for a server's option. */
export function tlsMode(tls: { isRequired: boolean } | undefined): TlsMode {
  if (tls === undefined) return 'off';
  return tls.isRequired ? 'require' : 'allow';
}

/** Reads the files and checks that they belong together. Throws an `NbdError` that names the file at fault. */
export function readTlsCredentials({ certificates, verifyPeer = false, keys }: TlsFiles): TlsCredentials {
  if (certificates === undefined && (keys === undefined || verifyPeer))
    throw invalid('TLS needs a directory of certificates, or a file of keys');
  const credentials = {
    certificate: certificates === undefined ? null : readCertificate(certificates),
    clientCa: certificates === undefined || !verifyPeer ? null : readClientCa(certificates),
    keys: keys === undefined ? null : readKeys(keys),
  };
  try {
    createSecureContext(tlsServerOptions(credentials));
  } catch (cause) {
    throw invalid(`TLS cannot be set up with what is in ${certificates ?? keys ?? ''}: ${textOf(cause)}`, cause);
  }
  return credentials;
}

/** Returns the options for `tls.createServer`. */
export function tlsServerOptions({ certificate, clientCa, keys }: TlsCredentials): TlsOptions {
  const suites = [...(keys === null ? [] : [keySuites]), ...(certificate === null ? [] : [certificateSuites])];
  return {
    minVersion: oldestVersion,
    ciphers: [newSuites, ...suites].join(':'),
    ...(certificate === null ? {} : { cert: certificate.chain, key: certificate.key }),
    ...(clientCa === null ? {} : { ca: clientCa.certificates, requestCert: true, rejectUnauthorized: true }),
    ...(typeof clientCa?.revoked === 'string' ? { crl: clientCa.revoked } : {}),
    // Sessions cannot be resumed, because a client that resumes one is not authenticated again.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(keys === null ? {} : { pskCallback: (socket, user) => keyOf(keys, socket, user), dhparam: 'auto' }),
  };
}

function keyOf(keys: ReadonlyMap<string, Uint8Array>, socket: TLSSocket, user: string): Uint8Array | null {
  const key = keys.get(user);
  if (key === undefined) return null;
  noteOffer(socket, user);
  return key;
}

function readCertificate(folder: string): { chain: string; key: string } {
  const chainPath = join(folder, 'server-cert.pem');
  const keyPath = join(folder, 'server-key.pem');
  const chain = readText(chainPath);
  const key = readSecret(keyPath);
  const certificate = parsed(chainPath, 'a certificate', () => new X509Certificate(chain));
  const privateKey = parsed(keyPath, 'a private key without a passphrase', () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) throw invalid(`${keyPath} is not the key of ${chainPath}`);
  return { chain, key };
}

function readClientCa(folder: string): { certificates: string; revoked: string | null } {
  const path = join(folder, 'ca-cert.pem');
  const certificates = readText(path);
  parsed(path, 'a certificate', () => new X509Certificate(certificates));
  const revokedPath = join(folder, 'ca-crl.pem');
  const revoked = existsSync(revokedPath) ? readText(revokedPath) : null;
  if (revoked !== null) parsed(revokedPath, 'a list of revoked certificates', () => createSecureContext({ crl: revoked }));
  return { certificates, revoked };
}

function readKeys(path: string): Map<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [index, line] of readSecret(path).split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, user = '', digits = ''] = /^([^:]+):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line) ?? [];
    if (user === '')
      throw invalid(`line ${index + 1} of ${path} is not a user's name, a colon, and a key in hexadecimal digits`);
    if (digits.length < 2 * fewestKeyBytes) {
      throw invalid(
        `the key of ${user} in line ${index + 1} of ${path} has ${digits.length / 2} bytes, and needs ${fewestKeyBytes} at least: create one with openssl rand -hex 32`,
      );
    }
    keys.set(user, Buffer.from(digits, 'hex'));
  }
  if (keys.size === 0) throw invalid(`there is no key in ${path}`);
  return keys;
}

/** Does the same as {@link readText}, but throws if every user may read the file. */
function readSecret(path: string): string {
  return readText(path, ({ mode }) => {
    if ((mode & othersRead) !== 0) throw invalid(`every user can read ${path}, which holds a secret key: chmod o-rwx ${path}`);
  });
}

/** Reads a regular file. It is checked through the descriptor that is read, and opening a pipe does not block. */
function readText(path: string, check: (stats: Stats) => void = () => undefined): string {
  let fd;
  try {
    fd = openSync(path, files.O_RDONLY | files.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size > mostFileBytes) throw invalid(`${path} is not a file of at most ${mostFileBytes} bytes`);
    check(stats);
    return readFileSync(fd, 'utf8');
  } catch (cause) {
    if (NbdError.is(cause)) throw cause;
    throw invalid(`${path} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? textOf(cause)}`, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw invalid(`${path} is not ${what} in PEM: ${textOf(cause)}`, cause);
  }
}

function invalid(message: string, cause?: unknown): NbdError {
  return new NbdError('ERR_NBD_INVALID', Status.Invalid, message, { cause });
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
