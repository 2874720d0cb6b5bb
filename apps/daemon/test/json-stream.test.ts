import fc from 'fast-check';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it, vi } from 'vitest';
import { JsonStream } from '../src/rpc/json-stream.js';
import type { StreamItem } from '../src/rpc/json-stream.js';

/** The values that are complete with this piece. */
function pushed(stream: JsonStream, piece: Buffer): StreamItem[] {
  const items: StreamItem[] = [];
  stream.push(piece);
  for (let item = stream.next(); item !== null; item = stream.next()) items.push(item);
  return items;
}

/** Returns what these bytes are parsed to, in pieces of these sizes, which repeat. */
function itemsOf(bytes: Buffer, sizes: readonly number[], maxBytes = 1000): StreamItem[] {
  const stream = new JsonStream(maxBytes);
  const items: StreamItem[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    items.push(...pushed(stream, bytes.subarray(at, at + size)));
    at += size;
  }
  return items;
}

const values = fc.array(fc.jsonValue({ maxDepth: 4, noUnicodeString: false }), { maxLength: 6 });
const spaces = fc.constantFrom('', ' ', '\n', '\r\n\t ');
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });

it('gives the same values whatever pieces they come in', () => {
  fc.assert(
    fc.property(values, spaces, sizes, (list, between, cuts) => {
      // Objects: a bare number may go on with the next byte.
      const bytes = Buffer.from(list.map((value) => JSON.stringify({ value })).join(between));
      const items = itemsOf(bytes, cuts, 10_000);
      expect(items.map((item) => (item.ok ? JSON.stringify(item.value) : item.message))).toEqual(
        list.map((value) => JSON.stringify({ value })),
      );
    }),
  );
});

it('says the same of what is no JSON whatever pieces it comes in', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    '"',
    '\\',
    ',',
    ':',
    'a',
    '1',
    'null',
    ' ',
    '{"a":1}',
    '[[[[',
    '\u00e9',
    '\u{1f600}',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 20 }), sizes, (parts, cuts) => {
      // A space follows each word, so that all ways of cutting end it at the same place.
      const bytes = Buffer.from(parts.map((part) => (/\w$/.test(part) ? `${part} ` : part)).join(''));
      const whole = itemsOf(bytes, [bytes.length]);
      expect(itemsOf(bytes, cuts)).toEqual(whole);
      expect(whole.slice(0, -1).every(({ ok }) => ok)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

it('answers a whole word that nothing follows, and waits for the rest of one that is not', () => {
  const stream = new JsonStream(1000);
  expect(pushed(stream, Buffer.from('12'))).toEqual([{ ok: true, value: 12, duplicateKey: null }]);
  expect(pushed(stream, Buffer.from(' tr'))).toEqual([]);
  expect(pushed(stream, Buffer.from('ue'))).toEqual([{ ok: true, value: true, duplicateKey: null }]);
  expect(pushed(stream, Buffer.from('x'.repeat(65)))).toMatchObject([{ ok: false }]);
});

it.each([
  ['a value', 1001, '"', 'x'.repeat(998), '"'],
  ['characters of two bytes', 1002, '"', 'é'.repeat(499), '" '],
  ['a value that never ends', 1001, '"', 'x'.repeat(2000), ''],
])('limits bytes, not characters: %s', (_, __, head, middle, tail) => {
  const fits = Buffer.from(`${head}${middle.slice(0, middle.length - 1)}${tail}`);
  const over = Buffer.from(`${head}${middle}xxx${tail}`);
  if (tail !== '') expect(itemsOf(fits, [7])).toMatchObject([{ ok: true }]);
  for (const size of [1, 7, 5000]) {
    expect(itemsOf(over, [size])).toEqual([{ ok: false, message: 'a request is longer than 1000 bytes' }]);
  }
});

it('takes no bytes that are not UTF-8', () => {
  expect(itemsOf(Buffer.from([0x22, 0xc3, 0x22]), [1])).toMatchObject([{ ok: false }]);
});

it('looks at each byte once, in pieces of one byte as in one', () => {
  // The number of bytes that are read from the pieces stands for time.
  let looks = 0;
  const counted = (bytes: Buffer): Buffer => {
    const read = bytes.readUInt8.bind(bytes);
    bytes.readUInt8 = (at) => (looks++, read(at));
    return bytes;
  };
  const bytes = Buffer.from(`{"a":"${'x'.repeat(900)}"}`);
  const stream = new JsonStream(1000);
  for (let at = 0; at < bytes.length; at++) pushed(stream, counted(bytes.subarray(at, at + 1)));
  expect(looks).toBeGreaterThanOrEqual(bytes.length);
  expect(looks).toBeLessThan(4 * bytes.length);
});

it('keeps nothing of what comes behind what is no JSON', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const stream = new JsonStream(1024);
  stream.push(Buffer.from('{"a":1}]'));
  expect(stream.next()).toMatchObject({ ok: true });
  expect(stream.next()).toMatchObject({ ok: false });
  collect();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 64; i++) stream.push(Buffer.alloc(1 << 20));
  // V8 counts what it frees beside the program as free at the next collection.
  await vi.waitFor(() => {
    collect();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20);
  }, 10_000);
  expect(stream.next()).toBeNull();
});
