/** Deepest nesting of a request. */
const maxDepth = 16;

/** One JSON value off the wire. */
export type StreamItem =
  | { ok: true; value: unknown; duplicateKey: string | null }
  /** Not JSON, too deep, or too long: nothing after it can be trusted. */
  | { ok: false; message: string };

/**
 * Cuts a stream of JSON values, with or without white space between them, in pieces of any size, into values. Bounded: a
 * value of more than `maxBytes` ends the stream.
 */
export class JsonStream {
  readonly #maxBytes: number;
  #pending = '';
  #isBroken = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The values that are complete with this piece, in order. After an item that is not ok, nothing more comes. */
  push(piece: string): StreamItem[] {
    if (this.#isBroken) return [];
    this.#pending += piece;
    const items: StreamItem[] = [];
    let start = 0;
    for (;;) {
      while (start < this.#pending.length && isSpace(this.#pending.charCodeAt(start))) start++;
      if (start === this.#pending.length) break;
      const end = endOfValue(this.#pending, start);
      if (end === 'incomplete') break;
      const item = end === 'too deep' ? broken(`nested deeper than ${maxDepth}`) : parse(this.#pending.slice(start, end));
      items.push(item);
      if (!item.ok) {
        this.#isBroken = true;
        this.#pending = '';
        return items;
      }
      start = end as number;
    }
    this.#pending = this.#pending.slice(start);
    if (this.#pending.length > this.#maxBytes) {
      this.#isBroken = true;
      this.#pending = '';
      items.push(broken(`a request is longer than ${this.#maxBytes} bytes`));
    }
    return items;
  }
}

function broken(message: string): StreamItem {
  return { ok: false, message };
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

const quote = 0x22;
const backslash = 0x5c;

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === backslash) at++;
    else if (code === quote) return at + 1;
  }
  return -1;
}

/** Where the value that starts here ends. Only brackets and strings are looked at: `JSON.parse` judges the rest. */
function endOfValue(text: string, start: number): number | 'incomplete' | 'too deep' {
  const first = text[start];
  if (first !== '{' && first !== '[') {
    if (first === '"') {
      const end = endOfString(text, start);
      return end < 0 ? 'incomplete' : end;
    }
    // A bare number or word ends at the next space or bracket; at the end of the input it may go on.
    let at = start;
    while (at < text.length && !/[\s{}[\]",:]/.test(text[at] ?? '')) at++;
    if (at === start) return start + 1;
    return at < text.length || /^(?:true|false|null|-?\d+)$/.test(text.slice(start)) ? at : 'incomplete';
  }
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const code = text[at];
    if (code === '"') {
      const end = endOfString(text, at);
      if (end < 0) return 'incomplete';
      at = end - 1;
    } else if (code === '{' || code === '[') {
      if (++depth > maxDepth) return 'too deep';
    } else if (code === '}' || code === ']') {
      if (--depth === 0) return at + 1;
    }
  }
  return 'incomplete';
}

function parse(text: string): StreamItem {
  let value: unknown;
  try {
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
