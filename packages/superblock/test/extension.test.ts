import type { ExtensionHeader, MapLife, RegionPage } from '@raidkit/core';
import { firstIncarnation, readPreferences } from '@raidkit/core';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../src/crc32c.js';
import { encodeHeader, encodePage, extensionLayout, parseHeader, parsePage, regionsPerPage } from '../src/extension.js';
import { journalStore, parseEntry, parseMark } from '../src/journal-store.js';

const life: MapLife = { uuid: '5d190000-0000-4000-8000-0000000000ff', incarnation: '0123456789abcdef' };
const otherLife: MapLife = { ...life, incarnation: '0123456789abcdee' };

function header(changes: Partial<ExtensionHeader> = {}, numSlots = 3): ExtensionHeader {
  return {
    generation: 7,
    arrayUuid: life.uuid,
    memberUuid: '5d190000-0000-4000-8000-000000000001',
    incarnation: life.incarnation,
    lineage: 'fedcba9876543210',
    wantsIntegrity: false,
    outerUuid: '5d190000-0000-4000-8000-0000000000ee',
    seqNumber: 3 * 65_536,
    previousSeqNumber: 2 * 65_536,
    completedSeqNumber: 2 * 65_536,
    regionBlocks: 2048,
    numRegions: 20,
    journalEpoch: 5,
    journalSlots: [2],
    previousJournalEpoch: 4,
    previousJournalSlots: [254],
    process: { type: 'resync', elapsedSec: 12 },
    badBlocks: { generation: 9, slots: [0] },
    sums: null,
    levelOptions: '{"full_stripe_only":true}',
    readPolicy: 'round-robin',
    slots: Array.from({ length: numSlots }, (_, index) => ({
      lastSeqNumber: 65_536 * index,
      formerSeqNumber: 0,
      pagesTaken: 2 ** 45 + index,
      isRemovedByHand: index === 1,
      readPreference: readPreferences[index % 3] ?? 'normal',
      readErrors: index,
      writeErrors: 2 * index,
      repairedBlocks: 2 ** 40 + index,
    })),
    ...changes,
  };
}

function withGoodChecksum(bytes: Uint8Array, length: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(8, 0, true);
  view.setUint32(8, crc32c(bytes.subarray(0, length)), true);
  return bytes;
}

describe('headers', () => {
  it.each([1, 3, 255])('of %i slots are read as they were written', (numSlots) => {
    const longest = JSON.stringify({ a: 'x'.repeat(extensionLayout.mostOptionsBytes - 8) });
    expect(longest.length).toBe(extensionLayout.mostOptionsBytes);
    for (const levelOptions of ['{}', '{"name":"größe"}', longest]) {
      const written = header({ levelOptions, journalSlots: [numSlots - 1], previousJournalSlots: [] }, numSlots);
      expect(parseHeader(encodeHeader(written))).toEqual(written);
      const all = Array.from({ length: numSlots }, (_, index) => index);
      const several = { ...written, journalSlots: all.slice(0, -1), previousJournalSlots: all, badBlocks: null };
      expect(parseHeader(encodeHeader(several))).toEqual(several);
      const errors = Array.from({ length: numSlots }, (_, index) => 0xffff_ffff - index);
      const badBlocks = { generation: 2 ** 32 - 2, slots: all };
      const withSums = {
        ...several,
        badBlocks,
        sums: { salt: '0123456789abcdef'.repeat(4), summedBlocks: 2 ** 45, areaAt: 2 ** 44 + 1, tags: all, errors },
      };
      for (const tags of [all, all.map((slot) => 255 - slot)]) {
        const tagged = { ...withSums, sums: { ...withSums.sums, tags } };
        const bytes = encodeHeader(tagged);
        expect(bytes.length).toBe(extensionLayout.headerBytes);
        expect(parseHeader(bytes)).toEqual(tagged);
      }
    }
  });

  it('say of a slot which superblocks are former ones, in the place of its pages taken', () => {
    const written = header();
    const [first, ...others] = written.slots as [ExtensionHeader['slots'][0], ...ExtensionHeader['slots']];
    const former = { ...first, lastSeqNumber: 0, formerSeqNumber: 2 ** 52 + 65_537, pagesTaken: 0 };
    const said = { ...written, slots: [former, ...others] };
    const bytes = encodeHeader(said);
    expect(parseHeader(bytes)).toEqual(said);
    // A version that does not know the flag finds a member with pages and without a superblock that it could be known by.
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(12, true);
    const flags = view.getUint8(128 + 30);
    view.setUint8(128 + 30, flags & ~32);
    const seen = { ...former, formerSeqNumber: 0, pagesTaken: former.formerSeqNumber };
    expect(parseHeader(withGoodChecksum(bytes, length))).toEqual({ ...said, slots: [seen, ...others] });
    // Where the last superblock is known, pages are pages.
    view.setUint8(128 + 30, flags);
    view.setUint32(128, 65_536, true);
    const known = { ...seen, lastSeqNumber: 65_536 };
    expect(parseHeader(withGoodChecksum(bytes, length))).toEqual({ ...said, slots: [known, ...others] });
    for (const changes of [{ lastSeqNumber: 65_536 }, { pagesTaken: 1 }, { formerSeqNumber: -1 }, { formerSeqNumber: 2 ** 53 }])
      expect(() => encodeHeader({ ...said, slots: [{ ...former, ...changes }, ...others] })).toThrow(
        /slots\[0\].formerSeqNumber is/,
      );
  });

  it('of sums that cannot be are none, and are not written', () => {
    const sums = { salt: '0123456789abcdef'.repeat(4), summedBlocks: 5, areaAt: 5, tags: [0, 1, 2], errors: [0, 1, 2] };
    const wrong: [Partial<typeof sums>, RegExp][] = [
      [{ salt: '01' }, /sums.salt is 01, .* 64 hexadecimal digits/],
      [{ summedBlocks: 2 ** 53 }, /sums.summedBlocks is 9007199254740992/],
      [{ areaAt: -1 }, /sums.areaAt is -1/],
      [{ errors: [0, 1] }, /sums.errors has 2 numbers for 3 slots/],
      [{ errors: [0, -1, 2] }, /sums.errors\[1\] is -1/],
      [{ tags: [0, 1] }, /sums.tags is \[0, 1\], .* another number for each of 3 slots/],
      [{ tags: [0, 2, 2] }, /sums.tags is \[0, 2, 2\]/],
      [{ tags: [0, 256, 2] }, /sums.tags\[1\] is 256/],
    ];
    for (const [changes, message] of wrong)
      expect(() => encodeHeader(header({ sums: { ...sums, ...changes } }))).toThrow(message);
    const bytes = encodeHeader(header({ sums }));
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(12, true);
    expect(parseHeader(bytes)?.sums).toEqual(sums);
    // The list has one slot less than it should have.
    const tailAt = 128 + 32 * 3;
    view.setUint32(tailAt + 12, view.getUint32(tailAt + 12, true) - 4, true);
    view.setUint32(12, length - 4, true);
    expect(parseHeader(withGoodChecksum(bytes, length - 4))).toBeNull();
  });

  it('from before there were incarnations and options have the first one, and none', () => {
    const written = header();
    const bytes = encodeHeader(written);
    const length = 128 + 32 * written.slots.length;
    bytes.fill(0, length);
    new DataView(bytes.buffer).setUint32(12, length, true);
    expect(parseHeader(withGoodChecksum(bytes, length))).toEqual({
      ...written,
      incarnation: firstIncarnation,
      lineage: firstIncarnation,
      outerUuid: null,
      levelOptions: '{}',
    });
  });

  it('from before there were lineages and nested arrays have their incarnation as lineage, and say nothing of an outer array', () => {
    const written = header();
    const bytes = encodeHeader(written);
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(12, true) - 32;
    bytes.fill(0, length);
    view.setUint32(12, length, true);
    view.setUint32(128 + 32 * 3 + 12, 0, true);
    expect(parseHeader(withGoodChecksum(bytes, length))).toEqual({ ...written, lineage: written.incarnation, outerUuid: null });
  });

  it.each([null, '00000000-0000-0000-0000-000000000000'])(
    'of a volume whose outer array is %s are read as they were written',
    (outerUuid) => {
      const written = header({ outerUuid });
      expect(parseHeader(encodeHeader(written))).toEqual(written);
    },
  );

  it('whose options are no JSON object, or are longer than there is room for, are none', () => {
    for (const levelOptions of ['', '[]', 'null', '7', '{', 'x'.repeat(extensionLayout.mostOptionsBytes + 1)]) {
      const plain = encodeHeader(header({ levelOptions: '{}' }));
      const options = Buffer.from(levelOptions);
      const tailAt = 128 + 32 * 3;
      const length = tailAt + 16 + options.length;
      const view = new DataView(plain.buffer);
      view.setUint32(12, length, true);
      view.setUint32(tailAt + 8, options.length, true);
      view.setUint32(tailAt + 12, 0, true);
      plain.set(options, tailAt + 16);
      expect(parseHeader(withGoodChecksum(plain, length)), levelOptions.slice(0, 20)).toBeNull();
    }
  });

  it('are refused, with field and limit, if they could not be read again', () => {
    const slot = header().slots[0]!;
    const cases: [Partial<ExtensionHeader>, RegExp][] = [
      [{ generation: 2 ** 53 - 1 }, /generation is 9007199254740991; it must be a whole number from 0 to 9007199254740990/],
      [{ seqNumber: 2 ** 53 }, /seqNumber/],
      [{ numRegions: 4096 * regionsPerPage + 1 }, /numRegions is 66060289; .* 66060288/],
      [{ regionBlocks: -1 }, /regionBlocks/],
      [{ process: { type: 'check', elapsedSec: 2 ** 32 } }, /elapsedSec/],
      [{ incarnation: '0123' }, /incarnation/],
      [{ lineage: '0123' }, /lineage is 0123/],
      [{ outerUuid: 'x' }, /outerUuid is x, and must be a uuid/],
      [{ levelOptions: 'x' }, /levelOptions is not a JSON object/],
      [{ levelOptions: JSON.stringify({ a: 'ü'.repeat(2000) }) }, /levelOptions has 4008 bytes; it may have 3500/],
      [{ slots: [{ ...slot, repairedBlocks: 2 ** 48 }] }, /slots\[0\]\.repairedBlocks/],
    ];
    for (const [changes, message] of cases) expect(() => encodeHeader(header(changes))).toThrow(message);
  });

  it('with numbers past 2^53 are none', () => {
    for (const at of [16, 56, 64, 72, 80, 96, 104, 112, 128]) {
      const bytes = encodeHeader(header());
      const view = new DataView(bytes.buffer);
      for (const value of [2n ** 53n - 1n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
        view.setBigUint64(at, value, true);
        expect(parseHeader(withGoodChecksum(bytes, view.getUint32(12, true))), `${value} at ${at}`).toBeNull();
      }
    }
  });

  it('with any one bit changed are none', () => {
    const bytes = encodeHeader(header());
    const length = new DataView(bytes.buffer).getUint32(12, true);
    for (let bit = 0; bit < length * 8; bit++) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(parseHeader(damaged)).toBeNull();
    }
  });
});

describe('pages', () => {
  const page: RegionPage = {
    index: 2,
    generation: 9,
    states: Uint8Array.from({ length: regionsPerPage }, (_, region) => region % 4),
  };

  it('are read as they were written', () => {
    expect(parsePage(encodePage(life, page), life)).toEqual(page);
  });

  it('of another life of the map, or of another array, do not count', () => {
    const bytes = encodePage(life, page);
    expect(parsePage(bytes, otherLife)).toBeNull();
    expect(parsePage(bytes, { ...life, uuid: '5d190000-0000-4000-8000-0000000000fe' })).toBeNull();
  });

  it('are refused if they could not be read again', () => {
    expect(() => encodePage(life, { ...page, index: 4096 })).toThrow(/index is 4096; .* 4095/);
    expect(() => encodePage(life, { ...page, generation: 2 ** 53 })).toThrow(/generation/);
    expect(() => encodePage(life, { ...page, states: new Uint8Array(regionsPerPage + 1) })).toThrow(/states.length/);
    expect(() => encodePage(life, { ...page, states: Uint8Array.of(1, 4) })).toThrow(/states\[1\] is 4; .* 3/);
  });

  it('from before there were incarnations are of the first one', () => {
    const bytes = encodePage(life, page);
    bytes.fill(0, 48, 64);
    withGoodChecksum(bytes, bytes.length);
    expect(parsePage(bytes, { ...life, incarnation: firstIncarnation })).toEqual(page);
    expect(parsePage(bytes, life)).toBeNull();
  });
});

describe('journal entries', () => {
  const entry = { epoch: 3 * 65_536, id: 12, offsetBlocks: 100, numBlocks: 4, isZero: false, numTogether: 2, indexTogether: 1 };
  const sealed = () => {
    const bytes = new Uint8Array(journalStore.headerBytes + 4 * 512).fill(0x5a);
    journalStore.seal(bytes, life, 3, 512, entry);
    return bytes;
  };

  it('are read as they were written, at their own place only', () => {
    expect(parseEntry(sealed(), 3, life, 512)).toEqual({ ...entry, data: new Uint8Array(4 * 512).fill(0x5a) });
    expect(parseEntry(sealed(), 4, life, 512)).toBeNull();
  });

  it('of which a part was not written are none', () => {
    const bytes = sealed();
    for (let at = 0; at < bytes.length; at += 512) {
      const torn = bytes.slice();
      torn.fill(0xee, at, at + 512);
      expect(parseEntry(torn, 3, life, 512), `without the sector at ${at}`).toBeNull();
    }
  });

  it('are refused if they could not be read again', () => {
    const bytes = new Uint8Array(journalStore.headerBytes + 4 * 512);
    const seal =
      (changes: Partial<typeof entry>, place = 3) =>
      () =>
        journalStore.seal(bytes, life, place, 512, { ...entry, ...changes });
    expect(seal({ numBlocks: 5 })).toThrow(/5 blocks cannot have 6144 bytes/);
    expect(seal({ offsetBlocks: 2 ** 53 - 2 })).toThrow(/out of range/);
    expect(seal({ id: 0 })).toThrow(/out of range/);
    expect(seal({ epoch: 2 ** 53 })).toThrow(/out of range/);
    expect(seal({}, 16)).toThrow(/no slot 16/);
    expect(seal({ indexTogether: 2 })).toThrow(/entry 2 of 2/);
  });

  it('from before a write could have several are alone', () => {
    const bytes = sealed();
    bytes.fill(0, 88, 96);
    withGoodChecksum(bytes, bytes.length);
    expect(parseEntry(bytes, 3, life, 512)).toMatchObject({ ...entry, numTogether: 1, indexTogether: 0 });
  });

  it('of another life of the map do not count', () => {
    expect(parseEntry(sealed(), 3, otherLife, 512)).toBeNull();
  });

  it('are told from marks, which are refused if they could not be read again', () => {
    const mark = { epoch: 3 * 65_536, id: 12, overTo: 11 };
    const bytes = new Uint8Array(journalStore.headerBytes).fill(0x5a);
    journalStore.sealMark(bytes, life, 3, 512, mark);
    expect(parseMark(bytes, 3, life, 512)).toEqual(mark);
    expect(parseEntry(bytes, 3, life, 512)).toBeNull();
    expect(parseMark(sealed(), 3, life, 512)).toBeNull();
    expect(parseMark(bytes, 4, life, 512)).toBeNull();
    expect(parseMark(bytes, 3, otherLife, 512)).toBeNull();
    for (let at = 0; at < bytes.length; at += 512) {
      const torn = bytes.slice();
      torn.fill(0xee, at, at + 512);
      expect(parseMark(torn, 3, life, 512), `without the sector at ${at}`).toBeNull();
    }
    expect(() => journalStore.sealMark(bytes, life, 3, 512, { ...mark, overTo: 12 })).toThrow(
      /number 12 cannot end entries up to 12/,
    );
    expect(() => journalStore.sealMark(bytes, life, 3, 512, { ...mark, overTo: 0 })).toThrow(/cannot end entries up to 0/);
    expect(() => journalStore.sealMark(bytes, life, 16, 512, mark)).toThrow(/no slot 16/);
  });

  it('from before there were incarnations are of the first one', () => {
    const bytes = sealed();
    bytes.fill(0, 80, 88);
    withGoodChecksum(bytes, bytes.length);
    expect(parseEntry(bytes, 3, { ...life, incarnation: firstIncarnation }, 512)).toMatchObject(entry);
    expect(parseEntry(bytes, 3, life, 512)).toBeNull();
  });
});
