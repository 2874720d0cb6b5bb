/** Deepest nesting of a request. */
const maxDepth = 16;

/** One JSON value off the wire. */
export type StreamItem =
  | { ok: true; value: unknown; duplicateKey: string | null }
  /** Not JSON, too deep, or too long: nothing after it can be trusted. */
  | { ok: false; message: string };

/**
 * Cuts a stream of JSON values, with or without white space between them, in pieces of any size, into values. Bounded: a
 * value of more than `maxBytes` ends the stream, and values are made one by one, as they are asked for. Each byte is looked at
 * once, whatever the pieces are.
 */
export class JsonStream {
  readonly #maxBytes: number;
  readonly #end = new ValueEnd();
  /** The value that has begun, as far as it came with earlier pieces. */
  #begun = Buffer.alloc(0);
  #begunBytes = 0;
  #isBroken = false;
  /** What came last, as far as it has not been looked at. */
  #piece: Buffer = Buffer.alloc(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * More bytes, of which no copy is made. To be called when {@link next} has given all values of the piece before. After an item that
   * is not ok they are thrown away.
   */
  push(piece: Buffer): void {
    // No value is asked for after that, and the client may go on sending while earlier calls are worked on.
    if (this.#isBroken) return;
    this.#piece = this.#piece.length === 0 ? piece : Buffer.concat([this.#piece, piece]);
  }

  /** The next value that is complete; null if none is. After one that is not ok nothing more comes. */
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

  /** What has begun, which ends at `end`: null if it goes on. */
  #judge(end: number): StreamItem | null {
    if (this.#begunBytes > this.#maxBytes) return broken(`a request is longer than ${this.#maxBytes} bytes`);
    if (end === tooDeep) return broken(`nested deeper than ${maxDepth}`);
    return end === goesOn ? null : parse(this.#begun.subarray(0, this.#begunBytes));
  }

  /** In one buffer that doubles: pieces of a byte would cost a hundred each. */
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

/** {@link ValueEnd.find}: the value goes on in the next piece. */
const goesOn = -1;
const tooDeep = -2;

/** Finds where a JSON value ends. Only brackets, strings and the ends of words are looked at: `JSON.parse` judges the rest. */
class ValueEnd {
  #isWord = false;
  #isInString = false;
  #isEscaped = false;
  #depth = 0;
  #letters = '';

  /** A value begins with this byte. */
  begin(first: number): void {
    this.#isWord = !isWordEnd(first);
    this.#isInString = false;
    this.#isEscaped = false;
    this.#depth = 0;
    this.#letters = '';
  }

  /** The place behind the value, whose bytes from `start` on are looked at; or {@link goesOn}, or {@link tooDeep}. */
  find(piece: Buffer, start: number): number {
    return this.#isWord ? this.#endOfWord(piece, start) : this.#endOfOther(piece, start);
  }

  /** A word or number ends before the next space, bracket or quote. At the end of a piece it ends if it is whole. */
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

/** Longest word or number that is waited for; JSON has none. */
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

/** The first key that an object of this valid JSON text has twice: `JSON.parse` would keep the last one silently. */
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

/** The place behind a string of valid JSON text that starts here. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== quote) at += text.charCodeAt(at) === backslash ? 2 : 1;
  return at + 1;
}
