import { Aead, aeadTagBytes } from '@raidkit/sys';
import type { AeadLibrary } from '@raidkit/sys';
import { nextSecret, secretBytes, trafficKeys } from './key-schedule.js';
import type { Suite } from './key-schedule.js';

/** Memory that does not move, and its address. */
export interface Slab {
  readonly bytes: Uint8Array;
  readonly addr: number;
}

/** Bytes of the header of a record. */
export const recordHeaderBytes = 5;
/** Most bytes of content in a record (RFC 8446, 5.1). */
export const mostContentBytes = 16_384;
/** Most that follows the header of a protected record (RFC 8446, 5.2). */
const mostProtectedBytes = mostContentBytes + 256;
/** The type of the content is behind it. */
const typeBytes = 1;
/** What a protected record has beside its content, if it is not padded. */
export const recordOverheadBytes = recordHeaderBytes + typeBytes + aeadTagBytes;
/** The longest record. */
export const mostRecordBytes = recordHeaderBytes + mostProtectedBytes;

/** Types of content (RFC 8446, B.1). */
export const ContentType = { ALERT: 21, HANDSHAKE: 22, APPLICATION_DATA: 23 } as const;
type ContentType = (typeof ContentType)[keyof typeof ContentType];

/** Alerts (RFC 8446, B.2) that are sent or understood here. */
export const Alert = {
  CLOSE_NOTIFY: 0,
  UNEXPECTED_MESSAGE: 10,
  BAD_RECORD_MAC: 20,
  RECORD_OVERFLOW: 22,
  ILLEGAL_PARAMETER: 47,
  INTERNAL_ERROR: 80,
  USER_CANCELED: 90,
} as const;
export type Alert = (typeof Alert)[keyof typeof Alert];

const alertBytes = 2;
const warning = 1;
const fatal = 2;
/** A KeyUpdate message (RFC 8446, 4.6.3): type, length in three bytes, whether the other side is to do the same. */
const keyUpdateBytes = 5;
const keyUpdate = 24;
/** Bytes of the record that {@link RecordLayer.sealKeyUpdate} makes. */
export const keyUpdateRecordBytes = keyUpdateBytes + recordOverheadBytes;
/** Bytes of the record that {@link RecordLayer.sealAlert} makes. */
export const alertRecordBytes = alertBytes + recordOverheadBytes;

/** Records that are sent with one key: AES-GCM allows 2^24.5 (RFC 8446, 5.5). */
const mostSealed = 2 ** 23;
/** Records that are taken with one key. The sender has its own limit; the number must stay exact. */
const mostOpened = 2 ** 48;
/** Records without data of the application's that are taken in a row: they cost work, and a client has no use for many. */
const mostIdle = 32;

/** One direction: the present secret, what was made of it, and how many records were protected with that. */
class Traffic {
  #aead: Aead;
  readonly #library: AeadLibrary;
  readonly #suite: Suite;
  readonly #direction: 'seal' | 'open';
  #secret: Uint8Array;
  readonly #iv = secretBytes(12);
  records = 0;

  constructor(library: AeadLibrary, suite: Suite, secret: Uint8Array, direction: 'seal' | 'open', records: number) {
    this.#library = library;
    this.#suite = suite;
    this.#direction = direction;
    this.#secret = secretBytes(secret.length);
    this.#secret.set(secret);
    this.#aead = this.#makeAead();
    this.records = records;
  }

  /** The cipher, with the nonce of the next record (RFC 8446, 5.3). */
  next(): Aead {
    const aead = this.#aead;
    const { nonce } = aead;
    const iv = this.#iv;
    nonce.set(iv);
    let rest = this.records;
    for (let i = iv.length - 1; rest > 0; i--) {
      nonce[i] = (iv[i] ?? 0) ^ (rest % 256);
      rest = Math.floor(rest / 256);
    }
    this.records++;
    return aead;
  }

  /** Goes on with the next secret. */
  update(): void {
    const old = this.#secret;
    this.#secret = nextSecret(this.#suite, old);
    old.fill(0);
    this.#aead.close();
    this.#aead = this.#makeAead();
    this.records = 0;
  }

  close(): void {
    this.#secret.fill(0);
    this.#iv.fill(0);
    this.#aead.close();
  }

  #makeAead(): Aead {
    const { key, iv } = trafficKeys(this.#suite, this.#secret);
    this.#iv.set(iv);
    const aead = new Aead(this.#library, this.#suite.aead, key, this.#direction, recordHeaderBytes);
    key.fill(0);
    iv.fill(0);
    return aead;
  }
}

/** What a handshake has left for the protection of records. The client that made it wipes it. */
export interface ApplicationSecrets {
  readonly suite: Suite;
  readonly client: Uint8Array;
  readonly server: Uint8Array;
  /** Records that the server has already sent with its secret: session tickets. */
  readonly sealed: number;
}

/**
 * The record protocol of TLS 1.3 after the handshake, for a server (RFC 8446, 5 and 4.6.3): bytes in, bytes out, on memory of the
 * caller's. Nothing is allocated for a record.
 */
export class RecordLayer {
  /** Why the client is to be sent away: an alert, or -1 if there is nothing to tell it. 0 while all is well. */
  failure = 0;
  /** The client sends no more. */
  hasEnded = false;
  /** The client wants a KeyUpdate. */
  owesKeyUpdate = false;
  /** Where {@link open} left off, in each of its slabs. */
  openedTo = 0;
  contentTo = 0;
  /** Where {@link seal} left off in what it encrypts. */
  sealedTo = 0;
  readonly #inbound: Traffic;
  readonly #outbound: Traffic;
  #idle = 0;
  /** Messages of our own, and the types of content. */
  readonly #small: Slab;
  readonly #mostSealed: number;

  /** `most` is for tests. */
  constructor(library: AeadLibrary, { suite, client, server, sealed }: ApplicationSecrets, most = mostSealed) {
    this.#inbound = new Traffic(library, suite, client, 'open', 0);
    this.#outbound = new Traffic(library, suite, server, 'seal', sealed);
    this.#mostSealed = most;
    const bytes = new Uint8Array(new ArrayBuffer(16));
    bytes.set([ContentType.ALERT, ContentType.HANDSHAKE, ContentType.APPLICATION_DATA]);
    this.#small = { bytes, addr: library.ffi.addressOf(bytes) };
  }

  /**
   * Decrypts the whole records among `from`'s bytes from `start` to `end`, and puts what is the application's into `to` from `at` on;
   * stops at the first that is not complete, ends the connection, is refused, or does not fit.
   */
  open(from: Slab, start: number, end: number, to: Slab, at: number): void {
    const { bytes } = from;
    let next = start;
    let content = at;
    while (this.failure === 0 && !this.hasEnded && end - next >= recordHeaderBytes) {
      const length = ((bytes[next + 3] ?? 0) << 8) | (bytes[next + 4] ?? 0);
      if (bytes[next] !== ContentType.APPLICATION_DATA) this.failure = Alert.UNEXPECTED_MESSAGE;
      else if (length > mostProtectedBytes) this.failure = Alert.RECORD_OVERFLOW;
      else if (length < typeBytes + aeadTagBytes) this.failure = Alert.BAD_RECORD_MAC;
      else if (this.#inbound.records >= mostOpened) this.failure = Alert.INTERNAL_ERROR;
      if (this.failure !== 0 || end - next < recordHeaderBytes + length) break;
      const innerBytes = length - aeadTagBytes;
      if (content + innerBytes > to.bytes.length) break;
      const aead = this.#inbound.next();
      for (let i = 0; i < recordHeaderBytes; i++) aead.additional[i] = bytes[next + i] ?? 0;
      if (!aead.open(from.addr + next + recordHeaderBytes, innerBytes, to.addr + content)) {
        this.failure = Alert.BAD_RECORD_MAC;
        break;
      }
      next += recordHeaderBytes + length;
      content += this.#take(to.bytes, content, innerBytes);
    }
    this.openedTo = next;
    this.contentTo = content;
  }

  /**
   * Encrypts `from`'s bytes from `start` to `end` as records, into `to` from `at` on, for as long as there is room. Returns where in
   * `to` they end; {@link sealedTo} is where it left off in `from`.
   */
  seal(from: Slab, start: number, end: number, to: Slab, at: number): number {
    let out = at;
    let next = start;
    while (next < end) {
      const bytes = Math.min(end - next, mostContentBytes);
      if (out + bytes + recordOverheadBytes + keyUpdateRecordBytes > to.bytes.length) break;
      if (this.#outbound.records >= this.#mostSealed) out = this.sealKeyUpdate(to, out);
      out = this.#sealOne(ContentType.APPLICATION_DATA, from.addr + next, bytes, to, out);
      next += bytes;
    }
    this.sealedTo = next;
    return out;
  }

  /** Announces new keys, which are used from then on. Returns where the record ends. */
  sealKeyUpdate(to: Slab, at: number): number {
    const { bytes, addr } = this.#small;
    bytes.set([keyUpdate, 0, 0, 1, 0], 8);
    const end = this.#sealOne(ContentType.HANDSHAKE, addr + 8, keyUpdateBytes, to, at);
    this.#outbound.update();
    this.owesKeyUpdate = false;
    return end;
  }

  /** The last record. Returns where it ends. */
  sealAlert(alert: Alert, to: Slab, at: number): number {
    const { bytes, addr } = this.#small;
    bytes.set([alert === Alert.CLOSE_NOTIFY ? warning : fatal, alert], 8);
    return this.#sealOne(ContentType.ALERT, addr + 8, alertBytes, to, at);
  }

  /** Forgets the keys. */
  close(): void {
    this.#inbound.close();
    this.#outbound.close();
  }

  /** Looks at what was decrypted. Returns how much of it is the application's. */
  #take(bytes: Uint8Array, at: number, innerBytes: number): number {
    if (innerBytes > mostContentBytes + typeBytes) {
      this.failure = Alert.RECORD_OVERFLOW;
      return 0;
    }
    let last = at + innerBytes - 1;
    while (last >= at && bytes[last] === 0) last--;
    const contentBytes = last - at;
    if (bytes[last] === ContentType.APPLICATION_DATA && contentBytes > 0) {
      this.#idle = 0;
      return contentBytes;
    }
    // Nothing but padding is a type less than `at`.
    const type = last < at ? 0 : (bytes[last] ?? 0);
    if (++this.#idle > mostIdle) this.failure = Alert.UNEXPECTED_MESSAGE;
    else if (type === ContentType.ALERT) this.#onAlert(bytes, at, contentBytes);
    else if (type === ContentType.HANDSHAKE) this.#onHandshake(bytes, at, contentBytes);
    else if (type !== ContentType.APPLICATION_DATA) this.failure = Alert.UNEXPECTED_MESSAGE;
    return 0;
  }

  #onAlert(bytes: Uint8Array, at: number, contentBytes: number): void {
    if (contentBytes !== alertBytes) this.failure = Alert.UNEXPECTED_MESSAGE;
    else if (bytes[at + 1] === Alert.CLOSE_NOTIFY) this.hasEnded = true;
    // Whatever else it is, the client has given up, whatever level it claims (RFC 8446, 6).
    else if (bytes[at + 1] !== Alert.USER_CANCELED) this.failure = -1;
  }

  /** After the handshake a client has one thing to say. The record ends with it: the next one has other keys. */
  #onHandshake(bytes: Uint8Array, at: number, contentBytes: number): void {
    const isKeyUpdate =
      contentBytes === keyUpdateBytes &&
      bytes[at] === keyUpdate &&
      bytes[at + 1] === 0 &&
      bytes[at + 2] === 0 &&
      bytes[at + 3] === 1;
    const wantsSame = bytes[at + 4] ?? 0;
    if (!isKeyUpdate) this.failure = Alert.UNEXPECTED_MESSAGE;
    else if (wantsSame > 1) this.failure = Alert.ILLEGAL_PARAMETER;
    else {
      this.#inbound.update();
      if (wantsSame === 1) this.owesKeyUpdate = true;
    }
  }

  #sealOne(type: ContentType, addr: number, contentBytes: number, to: Slab, at: number): number {
    const { bytes } = to;
    const length = contentBytes + typeBytes + aeadTagBytes;
    const aead = this.#outbound.next();
    const { additional } = aead;
    additional[0] = ContentType.APPLICATION_DATA;
    additional[1] = additional[2] = 3;
    additional[3] = length >> 8;
    additional[4] = length & 0xff;
    for (let i = 0; i < recordHeaderBytes; i++) bytes[at + i] = additional[i] ?? 0;
    const typeAddr = this.#small.addr + (type - ContentType.ALERT);
    if (!aead.seal(addr, contentBytes, typeAddr, to.addr + at + recordHeaderBytes)) throw new Error('OpenSSL does not encrypt');
    return at + recordHeaderBytes + length;
  }
}
