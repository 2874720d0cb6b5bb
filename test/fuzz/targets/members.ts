import { readFileSync } from 'node:fs';
import type { ExtensionHeader, MapLife } from '@raidkit/core';
import { fixCrc } from '../../../packages/superblock/test/codec-oracle.js';
import { encodeBadBlocks, mostBadRanges, parseBadBlocks } from '../../../packages/superblock/src/bad-block-list.js';
import {
  checkAgainstDevice,
  encodeSuperblock,
  findUnusableMember,
  parseSuperblock,
} from '../../../packages/superblock/src/codec.js';
import { crc32c } from '../../../packages/superblock/src/crc32c.js';
import { doubtBytes, encodeDoubtList, mostDoubtRanges, parseDoubtList } from '../../../packages/superblock/src/doubt-list.js';
import {
  encodeHeader,
  encodePage,
  extensionLayout,
  parseHeader,
  parsePage,
  regionsPerPage,
} from '../../../packages/superblock/src/extension.js';
import { journalStore, parseEntry } from '../../../packages/superblock/src/journal-store.js';
import type { Target } from '../fuzz.js';
import { expectSame, expectTrue } from './expect-same.js';

// What is on members: the maker of the disk has written it.

const life: MapLife = { uuid: '5d190000-0000-4000-8000-0000000000ff', incarnation: '0123456789abcdef' };
const folder = 'packages/superblock/src/';
const blockSize = 512;
/** Numbers that are counted on from have room for the next one. */
const mostCounted = Number.MAX_SAFE_INTEGER - 1;
const blocksOf4 = 4 * blockSize;

/** Records of ours have their length at byte 12 and the checksum of as much at byte 8; of those without a length it is that of all. */
function withChecksum(hasLength: boolean): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    if (bytes.length < 16) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = hasLength ? Math.min(view.getUint32(12, true), bytes.length) : bytes.length;
    view.setUint32(8, 0, true);
    view.setUint32(8, crc32c(bytes.subarray(0, length)), true);
    return bytes;
  };
}

function goldenSuperblocks(): Uint8Array[] {
  const file = new URL('../../../packages/superblock/test/fixtures/golden-superblocks.json', import.meta.url);
  const golden = JSON.parse(readFileSync(file, 'utf8')) as { head: string }[];
  const heads = golden.map(({ head }) => new Uint8Array(Buffer.from(head, 'base64')));
  // A few inputs of each length are tried.
  return heads.filter((head, place) => heads.slice(0, place).filter(({ length }) => length === head.length).length < 3);
}

const superblock: Target = {
  name: 'superblock',
  covers: [`${folder}codec.ts`],
  seeds: goldenSuperblocks(),
  words: ['SPDKRAID', 'name', '\u00fc', '\u{1f600}', '/'],
  mend: fixCrc,
  run(bytes) {
    const parsed = parseSuperblock(bytes);
    if (!parsed.ok) {
      expectTrue((parsed.neededBytes ?? 0) <= 256 + 255 * 64, `it needs ${String(parsed.neededBytes)} bytes`);
      return;
    }
    const { length, superblock: found, warnings } = parsed;
    const again = encodeSuperblock(found);
    expectSame(
      parseSuperblock(again),
      { ...parsed, warnings: warnings.filter((one) => one.startsWith('minor')) },
      'read again',
    );
    if (warnings.length === 0) expectTrue(Buffer.compare(again, bytes.subarray(0, length)) === 0, 'written again it differs');
    findUnusableMember(found);
    for (const { uuid } of found.members) {
      const fit = checkAgainstDevice(found, uuid, { blockSize: found.blockSize, numBlocks: 2 ** 40 });
      if (fit.ok) expectTrue(fit.member.dataOffsetBlocks + fit.member.dataSizeBlocks <= 2 ** 40, 'it is past the end');
    }
  },
};

const fullHeader: ExtensionHeader = {
  generation: 7,
  arrayUuid: life.uuid,
  memberUuid: '5d190000-0000-4000-8000-000000000001',
  incarnation: life.incarnation,
  lineage: 'fedcba9876543210',
  wantsIntegrity: true,
  badBlocks: { generation: 3, slots: [1] },
  sums: null,
  outerUuid: '5d190000-0000-4000-8000-0000000000ee',
  seqNumber: 3 * 65_536,
  previousSeqNumber: 2 * 65_536,
  completedSeqNumber: 2 * 65_536,
  regionBlocks: 2048,
  numRegions: 20,
  journalEpoch: 5,
  journalSlots: [0, 2],
  previousJournalEpoch: 4,
  previousJournalSlots: [1],
  process: { type: 'resync', elapsedSec: 12 },
  levelOptions: '{"copies":2}',
  readPolicy: 'round-robin',
  slots: Array.from({ length: 3 }, (_, index) => ({
    lastSeqNumber: 65_536 * index,
    formerSeqNumber: index === 0 ? 2 ** 40 + 65_536 : 0,
    pagesTaken: index === 0 ? 0 : 2 ** 45 + index,
    isRemovedByHand: index === 1,
    readPreference: index === 2 ? 'write-mostly' : 'normal',
    readErrors: index,
    writeErrors: 2 * index,
    repairedBlocks: 2 ** 40 + index,
  })),
};

const header: Target = {
  name: 'extension header',
  covers: [`${folder}extension.ts`],
  seeds: [
    fullHeader,
    { ...fullHeader, outerUuid: null, process: null, journalSlots: [], previousJournalSlots: [], levelOptions: '{}' },
  ].map((one) => encodeHeader(one).subarray(0, 512)),
  words: ['RAIDKIT1', '{}', '{"a":[]}', '"'],
  mend: withChecksum(true),
  run(bytes) {
    const found = parseHeader(bytes);
    if (found === null) return;
    expectTrue(found.slots.length <= 255 && found.levelOptions.length <= extensionLayout.mostOptionsBytes, 'it is too long');
    expectSame(parseHeader(encodeHeader(found)), found, 'read again');
  },
};

const page: Target = {
  name: 'map page',
  covers: [`${folder}extension.ts`],
  seeds: [20, regionsPerPage].map((count) =>
    encodePage(life, { index: 2, generation: 9, states: Uint8Array.from({ length: count }, (_, region) => region % 4) }),
  ),
  words: ['RKRG'],
  keepsLength: true,
  mend: withChecksum(false),
  run(bytes) {
    const found = parsePage(bytes, life);
    if (found === null) return;
    expectTrue(found.states.length <= regionsPerPage && found.index < extensionLayout.mostPages, 'it is past the end');
    expectSame(parsePage(encodePage(life, found), life), found, 'read again');
  },
};

const badBlocks: Target = {
  name: 'bad blocks',
  covers: [`${folder}bad-block-list.ts`],
  seeds: [0, 3, 200].map((count) =>
    encodeBadBlocks(life, {
      generation: 2 ** 33,
      ranges: Array.from({ length: count }, (_, index) => ({ slot: index % 3, offsetBlocks: 8 * index, numBlocks: 1 + index })),
    }),
  ),
  words: ['RKBB'],
  keepsLength: true,
  mend: withChecksum(true),
  run(bytes) {
    const found = parseBadBlocks(bytes, life);
    if (found === null) return;
    expectTrue(found.generation <= mostCounted && found.ranges.length <= mostBadRanges, 'a number of it is too large');
    for (const { numBlocks, offsetBlocks, slot } of found.ranges)
      expectTrue(
        slot < 255 && numBlocks > 0 && Number.isSafeInteger(offsetBlocks + numBlocks),
        `${numBlocks} blocks at ${offsetBlocks} of slot ${slot}`,
      );
    expectSame(parseBadBlocks(encodeBadBlocks(life, found), life), found, 'read again');
  },
};

const doubt: Target = {
  name: 'ranges in doubt',
  covers: [`${folder}doubt-list.ts`],
  seeds: [0, 3, mostDoubtRanges].map((count) =>
    encodeDoubtList(life, {
      generation: 7,
      ranges: Array.from({ length: count }, (_, index) => ({ start: 64 * index, count: 1 + (index % 8) })),
    }),
  ),
  words: ['RKIC'],
  keepsLength: true,
  mostBytes: doubtBytes,
  mend: withChecksum(false),
  run(bytes) {
    const found = parseDoubtList(bytes, life);
    if (found === null) return;
    expectTrue(found.generation <= mostCounted && found.ranges.length <= mostDoubtRanges, 'a number of it is too large');
    for (const { count, start } of found.ranges)
      expectTrue(count > 0 && Number.isSafeInteger(start + count), `${count} in doubt from ${start} on`);
    expectSame(parseDoubtList(encodeDoubtList(life, found), life), found, 'read again');
  },
};

function journalSeed(isZero: boolean): Uint8Array {
  const bytes = new Uint8Array(journalStore.headerBytes + (isZero ? 0 : blocksOf4)).fill(0x5a);
  const entry = { epoch: 3 * 65_536, id: 12, offsetBlocks: 100, numBlocks: 4, isZero, numTogether: 2, indexTogether: 1 };
  journalStore.seal(bytes, life, 3, blockSize, entry);
  return bytes;
}

const journal: Target = {
  name: 'journal entry',
  covers: [`${folder}journal-store.ts`],
  seeds: [journalSeed(false), journalSeed(true)],
  words: ['RKJL'],
  mostBytes: 32 * 1024,
  mend: withChecksum(true),
  run(bytes) {
    const found = parseEntry(bytes, 3, life, blockSize);
    if (found === null) return;
    const { data, ...entry } = found;
    expectTrue(data.length <= 32 * 1024, 'it is too long');
    const again = new Uint8Array(journalStore.headerBytes + data.length);
    again.set(data, journalStore.headerBytes);
    journalStore.seal(again, life, 3, blockSize, entry);
    expectSame(parseEntry(again, 3, life, blockSize), found, 'read again');
  },
};

export const memberTargets: readonly Target[] = [superblock, header, page, badBlocks, doubt, journal];
