import { createHash, timingSafeEqual } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';

/** Least characters of a token. */
const leastLength = 16;
/** Longest file, in bytes. */
const mostBytes = 4096;
/** Others may read the file. */
const othersRead = 0o004;

/** What whoever changes something over HTTP has to know. It is kept as a digest, so that it is in no message and no dump. */
export class HttpToken {
  readonly #digest: Buffer;

  constructor(token: string) {
    this.#digest = digest(token);
  }

  /** Whether the value of an `Authorization` header has the token. Takes the same time wherever the two differ. */
  isIn(authorization: string | undefined): boolean {
    const [, given] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    return given !== undefined && timingSafeEqual(digest(given), this.#digest);
  }
}

/** Reads the token that a file holds on one line. Throws if everybody can read it, or it is too short to be one. */
export function readHttpToken(path: string): HttpToken {
  const file = openSync(path, 'r');
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size > mostBytes) throw new Error(`${path} is no file of at most ${mostBytes} bytes`);
    if ((stats.mode & othersRead) !== 0) throw new Error(`everybody can read ${path}, which has a secret: chmod o-rwx ${path}`);
    const token = readFileSync(file, 'utf8').trim();
    if (!/^[\x21-\x7e]+$/.test(token) || token.length < leastLength)
      throw new Error(`${path} must have one line of ${leastLength} or more visible ASCII characters (openssl rand -hex 32)`);
    return new HttpToken(token);
  } finally {
    closeSync(file);
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
