/** Maximum nesting depth of a request. */
const maxDepth = 16;

/** A received JSON value. */
export type StreamItem =
  | { ok: true; value: unknown; duplicateKey: string | null }
  /** The value is not JSON, too deeply nested, or too long; what follows cannot be parsed. */
  | { ok: false; message: string };

/**
 * Splits a stream of JSON values, with or without white space between them and in pieces of any size, into values. A value of
 * more than `maxBytes` ends the stream, and values are parsed only when they are asked for. Each byte is scanned once, whatever
 * the pieces are.
 */
export class JsonStream {
  readonly #maxBytes: number;
  readonly #end = new ValueEnd();
  /** Bytes of an incomplete value from earlier pieces. */
  #begun = Buffer.alloc(0);
  #begunBytes = 0;
  #isBroken = false;
  /** Bytes of the last piece that were not scanned yet. */
  #piece: Buffer = Buffer.alloc(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Adds a piece, which is not copied. Must be called only after {@link next} has returned all values of the previous piece.
   * After an item that is not ok, pieces are discarded.
   */
  push(piece: Buffer): void {
    // Nothing is parsed after an error, but the client may go on sending while earlier calls run.
    if (this.#isBroken) return;
    this.#piece = this.#piece.length === 0 ? piece : Buffer.concat([this.#piece, piece]);
  }

  /** Returns the next complete value; null if there is none. After one that is not ok there are no more. */
  next(): StreamItem | null {
    const piece = this.#piece;
    for (let at = 0; at < piece.length && !this.#isBroken;) {
      if (this.#begunBytes === 0) {
        if (isSpace(piece.readUInt8(at))) {
          at++;
          continue;
        }
        this.#end.begin(piece.readUInt8(at));
      }
      const end = this.#end.find(piece, at);
      const part = piece.subarray(at, end < 0 ? piece.length : end);
      at += part.length;
      this.#keep(part);
      const item = this.#judge(end);
      if (item === null) continue;
      this.#piece = piece.subarray(at);
      this.#begun = Buffer.alloc(0);
      this.#begunBytes = 0;
      this.#isBroken = !item.ok;
      if (this.#isBroken) this.#piece = Buffer.alloc(0);
      return item;
    }
    this.#piece = Buffer.alloc(0);
    return null;
  }

  /** Parses the value that ends at `end`; null if it continues in the next piece. */
  #judge(end: number): StreamItem | null {
    if (this.#begunBytes > this.#maxBytes) return broken(`a request is longer than ${this.#maxBytes} bytes`);
    if (end === tooDeep) return broken(`nested deeper than ${maxDepth}`);
    return end === goesOn ? null : parse(this.#begun.subarray(0, this.#begunBytes));
  }

  /** Appends to one buffer that doubles in size: a list of one-byte pieces would cost a hundred bytes each. */
  #keep(part: Buffer): void {
    const bytes = this.#begunBytes + part.length;
    if (bytes > this.#begun.length) {
      const larger = Buffer.allocUnsafe(2 * bytes);
      this.#begun.copy(larger, 0, 0, this.#begunBytes);
      this.#begun = larger;
    }
    part.copy(this.#begun, this.#begunBytes);
    this.#begunBytes = bytes;
  }
}

/** Result of {@link ValueEnd.find}: the value continues in the next piece. */
const goesOn = -1;
const tooDeep = -2;

/** Finds the end of a JSON value. It only tracks brackets, strings and word ends; `JSON.parse` checks the rest. */
class ValueEnd {
  #isWord = false;
  #isInString = false;
  #isEscaped = false;
  #depth = 0;
  #letters = '';

  /** Starts a value with this first byte. */
  begin(first: number): void {
    this.#isWord = !isWordEnd(first);
    this.#isInString = false;
    this.#isEscaped = false;
    this.#depth = 0;
    this.#letters = '';
  }

  /** Scans from `start` on and returns the offset behind the value, {@link goesOn} or {@link tooDeep}. */
  find(piece: Buffer, start: number): number {
    return this.#isWord ? this.#endOfWord(piece, start) : this.#endOfOther(piece, start);
  }

  /**
   * Finds the end of a word or number, which is before the next space, bracket or quote, or at the end of the piece if the word
   * is complete.
   */
  #endOfWord(piece: Buffer, start: number): number {
    let at = start;
    while (at < piece.length && !isWordEnd(piece.readUInt8(at))) at++;
    if (at < piece.length) return at;
    this.#letters += piece.toString('latin1', start, at);
    return /^(?:true|false|null|-?\d+)$/.test(this.#letters) || this.#letters.length > maxWordBytes ? at : goesOn;
  }

  #endOfOther(piece: Buffer, start: number): number {
    for (let at = start; at < piece.length; at++) {
      const code = piece.readUInt8(at);
      if (this.#isEscaped) this.#isEscaped = false;
      else if (this.#isInString) {
        if (code === backslash) this.#isEscaped = true;
        else if (code === quote) this.#isInString = false;
      } else if (code === quote) this.#isInString = true;
      else if (code === openBrace || code === openBracket) this.#depth++;
      else if (code === closeBrace || code === closeBracket) this.#depth--;
      if (this.#depth > maxDepth) return tooDeep;
      if (this.#depth <= 0 && !this.#isInString) return at + 1;
    }
    return goesOn;
  }
}

function broken(message: string): StreamItem {
  return { ok: false, message };
}

/** Longest word or number that may be incomplete at the end of a piece; JSON's words are shorter. */
const maxWordBytes = 64;
const [quote, backslash, openBracket, closeBracket, openBrace, closeBrace] = [0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d];

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function isWordEnd(code: number): boolean {
  return isSpace(code) || '"[]{},:'.includes(String.fromCharCode(code));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parse(bytes: Buffer): StreamItem {
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    return broken(error instanceof Error ? error.message : String(error));
  }
  return { ok: true, value, duplicateKey: findDuplicateKey(text) };
}

/** Returns the first key that an object in this valid JSON text has twice: `JSON.parse` would silently keep the last one. */
function findDuplicateKey(text: string): string | null {
  const scopes: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '{') scopes.push(new Set());
    else if (char === '[') scopes.push(null);
    else if (char === '}' || char === ']') scopes.pop();
    else if (char === '"') {
      const end = endOfString(text, at);
      const keys = scopes.at(-1);
      let next = end;
      while (isSpace(text.charCodeAt(next))) next++;
      if (keys !== null && keys !== undefined && text[next] === ':') {
        const key = JSON.parse(text.slice(at, end)) as string;
        if (keys.has(key)) return key;
        keys.add(key);
      }
      at = end - 1;
    }
  }
  return null;
}

/** Offset behind a string of valid JSON text that starts at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== quote) at += text.charCodeAt(at) === backslash ? 2 : 1;
  return at + 1;
}
