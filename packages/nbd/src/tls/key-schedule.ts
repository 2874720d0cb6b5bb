import { createHmac } from 'node:crypto';
import type { AeadName } from '@raidkit/sys';

/** A cipher suite of TLS 1.3 (RFC 8446, B.4). */
export interface Suite {
  readonly aead: AeadName;
  readonly keyBytes: number;
  readonly hash: 'sha256' | 'sha384';
}

const suites: ReadonlyMap<string, Suite> = new Map([
  ['TLS_AES_128_GCM_SHA256', { aead: 'aes-128-gcm', keyBytes: 16, hash: 'sha256' }],
  ['TLS_AES_256_GCM_SHA384', { aead: 'aes-256-gcm', keyBytes: 32, hash: 'sha384' }],
  ['TLS_CHACHA20_POLY1305_SHA256', { aead: 'chacha20-poly1305', keyBytes: 32, hash: 'sha256' }],
]);

const ivBytes = 12;

/** Returns the suite with this IANA name; null if it is not supported here. */
export function suiteOf(name: string): Suite | null {
  return suites.get(name) ?? null;
}

/**
 * Returns memory for a secret that can be wiped. V8 keeps small arrays in its heap and leaves copies behind when it moves them;
 * the memory of an ArrayBuffer is not moved.
 */
export function secretBytes(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length));
}

/** Derives the key and IV of records from a traffic secret (RFC 8446, 7.3). The caller wipes both. */
export function trafficKeys({ hash, keyBytes }: Suite, secret: Uint8Array): { key: Uint8Array; iv: Uint8Array } {
  return { key: expandLabel(hash, secret, 'key', keyBytes), iv: expandLabel(hash, secret, 'iv', ivBytes) };
}

/** Derives the next traffic secret from this one (RFC 8446, 7.2). */
export function nextSecret({ hash }: Suite, secret: Uint8Array): Uint8Array {
  return expandLabel(hash, secret, 'traffic upd', secret.length);
}

/**
 * HKDF-Expand-Label with an empty context (RFC 8446, 7.1). `bytes` is at most the length of the hash, so that one block of
 * HKDF-Expand is enough.
 */
function expandLabel(hash: Suite['hash'], secret: Uint8Array, label: string, bytes: number): Uint8Array {
  const name = Buffer.from(`tls13 ${label}`, 'latin1');
  const info = Buffer.concat([Buffer.of(bytes >> 8, bytes & 0xff, name.length), name, Buffer.of(0, 1)]);
  const block = createHmac(hash, secret).update(info).digest();
  const wanted = secretBytes(bytes);
  wanted.set(block.subarray(0, bytes));
  block.fill(0);
  return wanted;
}
