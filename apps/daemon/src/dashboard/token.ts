import { createHash, timingSafeEqual } from 'node:crypto';
import { readSecretFile } from '../small-file.js';

/** Least characters of a token. */
const leastLength = 16;
/** Longest file, in bytes. */
const mostBytes = 4096;

/** The token that a request over HTTP must have to change something. It is kept as a digest, so that it is in no message and no dump. */
export class HttpToken {
  #digest: Buffer;

  constructor(token: string) {
    this.#digest = digest(token);
  }

  /** From now on it is this one, and no other. */
  renew(token: string): void {
    this.#digest = digest(token);
  }

  /** Whether the value of an `Authorization` header has the token. Takes the same time wherever the two differ. */
  isIn(authorization: string | undefined): boolean {
    const [, given] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    return given !== undefined && timingSafeEqual(digest(given), this.#digest);
  }
}

/** The token that a file holds on one line. Throws if every user can read it, or it is too short to be one. */
export function readHttpToken(path: string): string {
  const token = readSecretFile(path, mostBytes).trim();
  if (!/^[\x21-\x7e]+$/.test(token) || token.length < leastLength)
    throw new Error(`${path} must have one line of ${leastLength} or more visible ASCII characters (openssl rand -hex 32)`);
  return token;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
