import type { MemberLife } from '@raidkit/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checksumPages } from '../src/checksum-page.js';

const { pageBytes, recordsPerPage, sumsPerRecord } = checksumPages;
const codecFor = (life: MemberLife) => checksumPages.codecFor(life);
const sumAt = (index: number) => checksumPages.sumAt(index);
const life: MemberLife = {
  uuid: '5d190000-0000-4000-8000-0000000000ff',
  memberUuid: '5d190000-0000-4000-8000-000000000001',
  incarnation: '0123456789abcdef',
};
const all = 2 ** recordsPerPage - 1;
const recordBytes = pageBytes / recordsPerPage;
/** The page is not at the beginning of its memory. */
const at = 4096;

function memoryOf(sums: readonly bigint[] = []) {
  const u8 = new Uint8Array(at + pageBytes);
  const view = new DataView(u8.buffer);
  for (let i = 0; i < recordsPerPage * sumsPerRecord; i++) {
    view.setBigUint64(at + sumAt(i), sums[i % (sums.length || 1)] ?? 0n, true);
  }
  return { u8, view };
}

const anyPage = fc.record({
  sums: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 40 }),
  page: fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 50 - 1 })),
});

it('sums lie side by side within a record, each at a place of its own', () => {
  const places = Array.from({ length: recordsPerPage * sumsPerRecord }, (_, index) => sumAt(index));
  expect(places[0]).toBe(32);
  expect(places.at(-1)).toBe(pageBytes - 8);
  for (const [index, place] of places.entries()) {
    if (index > 0) expect(place - places[index - 1]!).toBe(index % sumsPerRecord === 0 ? 40 : 8);
  }
});

it('a page is whole as it was sealed, with the sums that it had, and nothing is written beside it', () => {
  fc.assert(
    fc.property(anyPage, ({ sums, page }) => {
      const memory = memoryOf(sums);
      codecFor(life).seal(memory, at, page);
      expect(codecFor(life).goodRecords(memory, at, page)).toBe(all);
      expect(memory.u8.subarray(0, at).every((byte) => byte === 0)).toBe(true);
      sums.forEach((sum, index) => expect(memory.view.getBigUint64(at + sumAt(index), true)).toBe(sum));
    }),
    { numRuns: 50 },
  );
});

it('a bit that is wrong, a sector of another time, of nothing or of another record costs that record alone', () => {
  fc.assert(
    fc.property(anyPage, anyPage, fc.nat(recordsPerPage * recordBytes * 8 - 1), ({ sums, page }, later, bit) => {
      const codec = codecFor(life);
      const memory = memoryOf(sums);
      codec.seal(memory, at, page);
      const whole = memory.u8.slice();
      const record = Math.floor(bit / 8 / recordBytes);
      const start = at + record * recordBytes;
      memory.u8[at + (bit >> 3)]! ^= 1 << (bit & 7);
      expect(codec.goodRecords(memory, at, page)).toBe(all & ~(1 << record));
      memory.u8.set(whole);
      memory.u8.fill(0, start, start + recordBytes);
      expect(codec.goodRecords(memory, at, page)).toBe(all & ~(1 << record));
      const other = ((record + 1) % recordsPerPage) * recordBytes;
      memory.u8.set(whole.subarray(at + other, at + other + recordBytes), start);
      expect(codec.goodRecords(memory, at, page)).toBe(all & ~(1 << record));
      // After a torn write every record is completely old or completely new.
      const newer = memoryOf(later.sums);
      codec.seal(newer, at, page);
      memory.u8.set(whole);
      memory.u8.set(newer.u8.subarray(start, at + pageBytes), start);
      expect(codec.goodRecords(memory, at, page)).toBe(all);
    }),
    { numRuns: 50 },
  );
});

it('a page of another number, member, array or life is none', () => {
  const memory = memoryOf([7n]);
  codecFor(life).seal(memory, at, 5);
  for (const page of [0, 4, 6, 5 + 2 ** 29, 5 + 2 ** 32]) expect(codecFor(life).goodRecords(memory, at, page)).toBe(0);
  const others: MemberLife[] = [
    { ...life, memberUuid: '5d190000-0000-4000-8000-000000000002' },
    { ...life, uuid: '5d190000-0000-4000-8000-0000000000fe' },
    { ...life, uuid: life.memberUuid, memberUuid: life.uuid },
    { ...life, incarnation: '0123456789abcdee' },
    { ...life, incarnation: '8123456789abcdef' },
  ];
  for (const other of others) expect(codecFor(other).goodRecords(memory, at, 5)).toBe(0);
});

it('the bytes of a page do not change from one version to the next', () => {
  const memory = memoryOf([0x0102030405060708n]);
  codecFor(life).seal(memory, at, 0x1_2345_6789);
  expect(Buffer.from(memory.u8.subarray(at + recordBytes, at + recordBytes + 48)).toString('hex')).toBe(
    '524b534da34a77020123456789abcdef493c2b1a09000000000000000000000008070605040302010807060504030201',
  );
});
