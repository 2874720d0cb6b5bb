import type { Ffi, ForeignFunction } from './ffi.js';
import { loadCalls } from './load.js';

/** Ciphers of TLS 1.3, by OpenSSL's names. */
export type AeadName = 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';

/** Size of the authentication tag that each cipher appends. */
export const aeadTagBytes = 16;

/** Size of each cipher's nonce. */
const nonceBytes = 12;
/** Largest size of the additional data. */
const mostAdditionalBytes = 16;
/** Commands of EVP_CIPHER_CTX_ctrl(3), the same for all three ciphers. */
const getTag = 0x10;
const setTag = 0x11;

const ciphers: Record<AeadName, string> = {
  'aes-128-gcm': 'EVP_aes_128_gcm',
  'aes-256-gcm': 'EVP_aes_256_gcm',
  'chacha20-poly1305': 'EVP_chacha20_poly1305',
};

/** The functions of OpenSSL that are used (EVP_EncryptInit(3)). */
export interface AeadLibrary {
  readonly ffi: Ffi;
  readonly newContext: ForeignFunction;
  readonly freeContext: ForeignFunction;
  readonly control: ForeignFunction;
  readonly begin: { readonly seal: ForeignFunction; readonly open: ForeignFunction };
  readonly update: { readonly seal: ForeignFunction; readonly open: ForeignFunction };
  readonly end: { readonly seal: ForeignFunction; readonly open: ForeignFunction };
  readonly ciphers: Readonly<Record<AeadName, ForeignFunction>>;
}

let loaded: AeadLibrary | null | undefined;

/**
 * Returns the ciphers of the OpenSSL that Node itself uses, or null where they cannot be called: without FFI, or if Node does
 * not export them.
 */
export function loadAead(): AeadLibrary | null {
  if (loaded === undefined) {
    const calls = loadCalls();
    loaded = calls === null ? null : find(calls.ffi);
  }
  return loaded;
}

function find(ffi: Ffi): AeadLibrary | null {
  const missing: string[] = [];
  const get = (name: string, result: 'int' | 'long', args: ('int' | 'long')[]): ForeignFunction => {
    const found = ffi.functionOf(name, result, args);
    if (found === null) missing.push(name);
    return found ?? (() => 0);
  };
  const context = 'long';
  const pair = (
    what: string,
    args: ('int' | 'long')[],
  ): { readonly seal: ForeignFunction; readonly open: ForeignFunction } => ({
    seal: get(`EVP_Encrypt${what}`, 'int', args),
    open: get(`EVP_Decrypt${what}`, 'int', args),
  });
  const cipher = (name: AeadName): ForeignFunction => get(ciphers[name], 'long', []);
  const library: AeadLibrary = {
    ffi,
    newContext: get('EVP_CIPHER_CTX_new', context, []),
    freeContext: get('EVP_CIPHER_CTX_free', 'int', [context]),
    control: get('EVP_CIPHER_CTX_ctrl', 'int', [context, 'int', 'int', 'long']),
    begin: pair('Init_ex', [context, 'long', 'long', 'long', 'long']),
    update: pair('Update', [context, 'long', 'long', 'long', 'int']),
    end: pair('Final_ex', [context, 'long', 'long']),
    ciphers: {
      'aes-128-gcm': cipher('aes-128-gcm'),
      'aes-256-gcm': cipher('aes-256-gcm'),
      'chacha20-poly1305': cipher('chacha20-poly1305'),
    },
  };
  return missing.length === 0 ? library : null;
}

/**
 * One key of an authenticated cipher for one direction, for memory that is given by address. Nothing is allocated for an
 * operation. The caller must never use a nonce twice.
 */
export class Aead {
  readonly #library: AeadLibrary;
  readonly #direction: 'seal' | 'open';
  /** Memory for the nonce, the additional data, and a number that OpenSSL writes. */
  readonly #bytes = new Uint8Array(new ArrayBuffer(nonceBytes + mostAdditionalBytes + 4 + 2 * aeadTagBytes));
  /** 12 bytes that the caller writes before each operation. */
  readonly nonce = this.#bytes.subarray(0, nonceBytes);
  /** Additional data, which is authenticated but not encrypted. The caller writes it. */
  readonly additional: Uint8Array;
  readonly #nonceAddr: number;
  readonly #additionalAddr: number;
  readonly #numberAddr: number;
  readonly #spareAddr: number;
  /** OpenSSL's context; 0 once closed. */
  #context: number;

  /** The key is copied. */
  constructor(library: AeadLibrary, name: AeadName, key: Uint8Array, direction: 'seal' | 'open', additionalBytes: number) {
    this.#library = library;
    this.#direction = direction;
    this.additional = this.#bytes.subarray(nonceBytes, nonceBytes + additionalBytes);
    const { ffi } = library;
    this.#nonceAddr = ffi.addressOf(this.#bytes);
    this.#additionalAddr = this.#nonceAddr + nonceBytes;
    this.#numberAddr = this.#additionalAddr + mostAdditionalBytes;
    this.#spareAddr = this.#numberAddr + 4;
    // Memory that does not move.
    const copy = new Uint8Array(new ArrayBuffer(key.length));
    copy.set(key);
    this.#context = library.newContext();
    const isReady =
      this.#context !== 0 &&
      library.begin[direction](this.#context, library.ciphers[name](), 0, ffi.addressOf(copy), this.#nonceAddr) === 1;
    copy.fill(0);
    if (!isReady) throw new Error(`OpenSSL does not take a key for ${name}`);
  }

  /**
   * Encrypts `bytes` bytes and then one more (at `lastAddr`), and appends the tag: `bytes + 1 + 16` bytes at `outAddr`. Returns
   * false if this failed.
   */
  seal(inAddr: number, bytes: number, lastAddr: number, outAddr: number): boolean {
    if (!this.#begin('seal')) return false;
    const update = this.#library.update.seal;
    const context = this.#context;
    return (
      (bytes === 0 || update(context, outAddr, this.#numberAddr, inAddr, bytes) === 1) &&
      update(context, outAddr + bytes, this.#numberAddr, lastAddr, 1) === 1 &&
      this.#library.end.seal(context, this.#spareAddr, this.#numberAddr) === 1 &&
      this.#library.control(context, getTag, aeadTagBytes, outAddr + bytes + 1) === 1
    );
  }

  /**
   * Decrypts `bytes` bytes, which their tag follows, to `outAddr`; the two ranges must not overlap. Returns false if the tag
   * does not match: what was written is then meaningless.
   */
  open(inAddr: number, bytes: number, outAddr: number): boolean {
    if (!this.#begin('open')) return false;
    const context = this.#context;
    return (
      this.#library.update.open(context, outAddr, this.#numberAddr, inAddr, bytes) === 1 &&
      this.#library.control(context, setTag, aeadTagBytes, inAddr + bytes) === 1 &&
      this.#library.end.open(context, this.#spareAddr, this.#numberAddr) === 1
    );
  }

  /** Erases and frees the key. */
  close(): void {
    if (this.#context === 0) return;
    this.#library.freeContext(this.#context);
    this.#context = 0;
    this.#bytes.fill(0);
  }

  #begin(direction: 'seal' | 'open'): boolean {
    if (this.#context === 0 || this.#direction !== direction) return false;
    const { begin, update } = this.#library;
    return (
      begin[direction](this.#context, 0, 0, 0, this.#nonceAddr) === 1 &&
      update[direction](this.#context, 0, this.#numberAddr, this.#additionalAddr, this.additional.length) === 1
    );
  }
}
