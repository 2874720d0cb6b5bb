const handshakeRecord = 22;
const clientHello = 1;
const supportedVersions = 43;
const tls13 = 0x0304;

/**
 * Returns whether a record, header included, is a complete ClientHello that offers TLS 1.3 (RFC 8446, 4.1.2 and 4.2.1). The
 * result only selects how the client is served; OpenSSL validates the message in both cases. So anything unusual gives false.
 */
export function offersTls13(record: Buffer): boolean {
  const hello = new Fields(record);
  if (hello.number(1) !== handshakeRecord) return false;
  hello.skip(4);
  if (hello.number(1) !== clientHello) return false;
  if (hello.number(3) !== record.length - 9) return false;
  // This skips the legacy version and the random bytes, then session id, cipher suites and compression methods.
  hello.skip(2 + 32);
  hello.skip(hello.number(1));
  hello.skip(hello.number(2));
  hello.skip(hello.number(1));
  const end = hello.number(2) + hello.at;
  while (hello.at < end && !hello.isOver) {
    const type = hello.number(2);
    const bytes = hello.number(2);
    if (type !== supportedVersions) {
      hello.skip(bytes);
      continue;
    }
    for (let left = hello.number(1); left >= 2; left -= 2) if (hello.number(2) === tls13) return true;
    return false;
  }
  return false;
}

/** Reads consecutive big-endian numbers; those past the end are 0. */
class Fields {
  at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.at >= this.#bytes.length;
  }

  number(bytes: number): number {
    const value = this.at + bytes > this.#bytes.length ? 0 : this.#bytes.readUIntBE(this.at, bytes);
    this.at += bytes;
    return value;
  }

  skip(bytes: number): void {
    this.at += bytes;
  }
}
