import { createHash, timingSafeEqual } from 'node:crypto';
import { readSecretFile } from '../small-file.js';

/** Minimum length of a token, in characters. */
const leastLength = 16;
/** Size limit of the file, in bytes. */
const mostBytes = 4096;

/**
 * The token that an HTTP request needs to change something. Only a digest is kept, so that it appears in no message and no
 * dump.
 */
export class HttpToken {
  #digest: Buffer;

  constructor(token: string) {
    this.#digest = digest(token);
  }

  /** Replaces the token. */
  renew(token: string): void {
    this.#digest = digest(token);
  }

  /** Whether the value of an `Authorization` header has the token. Takes the same time wherever the two differ. */
  isIn(authorization: string | undefined): boolean {
    const [, given] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    return given !== undefined && timingSafeEqual(digest(given), this.#digest);
  }
}

/** Reads the token from a file of one line. Throws if every user can read the file or the token is too short. */
export function readHttpToken(path: string): string {
  const token = readSecretFile(path, mostBytes).trim();
  if (!/^[\x21-\x7e]+$/.test(token) || token.length < leastLength)
    throw new Error(`${path} must have one line of ${leastLength} or more visible ASCII characters (openssl rand -hex 32)`);
  return token;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
