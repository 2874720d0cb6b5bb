import { Aead, aeadTagBytes } from '@raidkit/sys';
import type { AeadLibrary } from '@raidkit/sys';
import { nextSecret, secretBytes, trafficKeys } from './key-schedule.js';
import type { Suite } from './key-schedule.js';

/** Memory that does not move, with its address. */
export interface Slab {
  readonly bytes: Uint8Array;
  readonly addr: number;
}

/** Bytes of a record's header. */
export const recordHeaderBytes = 5;
/** Most bytes of content in a record (RFC 8446, 5.1). */
export const mostContentBytes = 16_384;
/** Most bytes after the header of a protected record (RFC 8446, 5.2). */
const mostProtectedBytes = mostContentBytes + 256;
/** Bytes of the content type, which follows the content. */
const typeBytes = 1;
/** Bytes of a protected record in addition to its content, without padding. */
export const recordOverheadBytes = recordHeaderBytes + typeBytes + aeadTagBytes;
/** Longest record in bytes, header included. */
export const mostRecordBytes = recordHeaderBytes + mostProtectedBytes;

/** Content types (RFC 8446, B.1). */
export const ContentType = { ALERT: 21, HANDSHAKE: 22, APPLICATION_DATA: 23 } as const;
type ContentType = (typeof ContentType)[keyof typeof ContentType];

/** Alerts (RFC 8446, B.2) that are sent or have a meaning here. */
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
/** Bytes of a KeyUpdate message (RFC 8446, 4.6.3): type, length in 3 bytes, and whether the peer must update its keys too. */
const keyUpdateBytes = 5;
const keyUpdate = 24;
/** Bytes of the record that {@link RecordLayer.sealKeyUpdate} writes. */
export const keyUpdateRecordBytes = keyUpdateBytes + recordOverheadBytes;
/** Bytes of the record that {@link RecordLayer.sealAlert} writes. */
export const alertRecordBytes = alertBytes + recordOverheadBytes;

/** Number of records sealed with one key; AES-GCM allows 2^24.5 (RFC 8446, 5.5). */
const mostSealed = 2 ** 23;
/** Number of records opened with one key. The sender has its own limit; this one keeps the count an exact number. */
const mostOpened = 2 ** 48;
/** Number of consecutive records without application data that are accepted. Each costs work, and clients do not need many. */
const mostIdle = 32;

/** One direction: its traffic secret, the cipher derived from it, and the number of records that the cipher has protected. */
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

  /** Returns the cipher with the nonce of the next record (RFC 8446, 5.3), and counts the record. */
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

  /** Continues with the next traffic secret. */
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

/** The secrets that a handshake leaves for application data. Their owner wipes them. */
export interface ApplicationSecrets {
  readonly suite: Suite;
  readonly client: Uint8Array;
  readonly server: Uint8Array;
  /** Number of records that the server has already sent with its secret: session tickets. */
  readonly sealed: number;
}

/**
 * The record protocol of TLS 1.3 after the handshake, for a server (RFC 8446, 5 and 4.6.3). It works on memory of the caller
 * and allocates nothing per record.
 */
export class RecordLayer {
  /** Why the connection must end: the alert to send, or -1 if none should be sent; 0 while there is no failure. */
  failure = 0;
  /** The client has sent close_notify. */
  hasEnded = false;
  /** The client has asked for a KeyUpdate. */
  owesKeyUpdate = false;
  /** Where the last {@link open} stopped in `from`. */
  openedTo = 0;
  /** Where the content that the last {@link open} wrote ends in `to`. */
  contentTo = 0;
  /** Where the last {@link seal} stopped in `from`. */
  sealedTo = 0;
  readonly #inbound: Traffic;
  readonly #outbound: Traffic;
  #idle = 0;
  /** Space for messages of the record layer itself, and the content types. */
  readonly #small: Slab;
  readonly #mostSealed: number;

  /** `most` is the number of records sealed with one key; tests set it. */
  constructor(library: AeadLibrary, { suite, client, server, sealed }: ApplicationSecrets, most = mostSealed) {
    this.#inbound = new Traffic(library, suite, client, 'open', 0);
    this.#outbound = new Traffic(library, suite, server, 'seal', sealed);
    this.#mostSealed = most;
    const bytes = new Uint8Array(new ArrayBuffer(16));
    bytes.set([ContentType.ALERT, ContentType.HANDSHAKE, ContentType.APPLICATION_DATA]);
    this.#small = { bytes, addr: library.ffi.addressOf(bytes) };
  }

  /**
   * Decrypts the complete records in `from` between `start` and `end`, and writes their application data to `to` from `at` on.
   * It stops at the first record that is incomplete, ends the connection, is invalid, or does not fit into `to`.
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
   * Encrypts the bytes of `from` between `start` and `end` as records into `to` from `at` on, as long as there is room. Returns
   * where the records end in `to`; {@link sealedTo} is where it stopped in `from`.
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

  /** Writes a KeyUpdate record, and uses the next key after it. Returns where the record ends. */
  sealKeyUpdate(to: Slab, at: number): number {
    const { bytes, addr } = this.#small;
    bytes.set([keyUpdate, 0, 0, 1, 0], 8);
    const end = this.#sealOne(ContentType.HANDSHAKE, addr + 8, keyUpdateBytes, to, at);
    this.#outbound.update();
    this.owesKeyUpdate = false;
    return end;
  }

  /** Writes an alert, which is the last record. Returns where it ends. */
  sealAlert(alert: Alert, to: Slab, at: number): number {
    const { bytes, addr } = this.#small;
    bytes.set([alert === Alert.CLOSE_NOTIFY ? warning : fatal, alert], 8);
    return this.#sealOne(ContentType.ALERT, addr + 8, alertBytes, to, at);
  }

  /** Wipes the keys. */
  close(): void {
    this.#inbound.close();
    this.#outbound.close();
  }

  /** Processes what was decrypted. Returns how many bytes of it are application data. */
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
    // A record with nothing but padding has no type.
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
    // Any other alert means that the client has given up, whatever level it has (RFC 8446, 6).
    else if (bytes[at + 1] !== Alert.USER_CANCELED) this.failure = -1;
  }

  /** After the handshake a client may only send KeyUpdate. It must end its record, because the next one uses another key. */
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
