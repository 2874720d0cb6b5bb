import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkAgainstDevice,
  encodeSuperblock,
  MemberState,
  parseSuperblock,
  type Superblock,
  SuperblockFieldError,
} from '../src/codec.js';
import { crc32c } from '../src/crc32c.js';
import { decodeByTable, fixCrc, superblocks } from './codec-oracle.js';

interface Golden {
  array: string;
  member: string;
  head: string;
  account: {
    version: string;
    length: number;
    crc: string;
    flags: number;
    uuid: string;
    name: string;
    raid_size: number;
    block_size: number;
    level: number;
    strip_size_blocks: number;
    state: number;
    seq_number: number;
    num_base_bdevs: number;
    base_bdevs_size: number;
    base_bdevs: { uuid: string; data_offset: number; data_size: number; state: string; flags: number; slot: number }[];
  };
}
const golden = JSON.parse(readFileSync(new URL('./fixtures/golden-superblocks.json', import.meta.url), 'utf8')) as Golden[];
const stateNames = ['MISSING', 'CONFIGURED', 'FAILED', 'SPARE'];

const valid: Superblock = {
  versionMajor: 1,
  versionMinor: 0,
  flags: 0,
  uuid: '5d190000-0000-4000-8000-0000000000ff',
  name: 'array',
  raidSizeBlocks: 43008,
  blockSize: 512,
  level: 95,
  stripSizeBlocks: 128,
  state: 0,
  seqNumber: 5,
  numBaseBdevs: 3,
  members: [0, 1, 2].map((slot) => ({
    uuid: `5d190000-0000-4000-8000-00000000000${slot}`,
    dataOffsetBlocks: 2048,
    dataSizeBlocks: 14336,
    state: MemberState.Configured,
    flags: 0,
    slot,
  })),
};
const withMember = (index: number, change: Partial<Superblock['members'][number]>): Superblock => ({
  ...valid,
  members: valid.members.map((member, i) => (i === index ? { ...member, ...change } : member)),
});

describe('superblocks that SPDK wrote', () => {
  it.each(golden)('$array $member', ({ head, account }) => {
    const bytes = new Uint8Array(4096);
    bytes.set(Buffer.from(head, 'base64'));
    const parsed = parseSuperblock(bytes);
    if (!parsed.ok) throw new Error(parsed.message);
    const { superblock: sb } = parsed;
    expect({
      version: `${sb.versionMajor}.${sb.versionMinor}`,
      length: parsed.length,
      crc: new DataView(bytes.buffer).getUint32(16, true).toString(16).padStart(8, '0'),
      crc_ok: true,
      flags: sb.flags,
      uuid: sb.uuid,
      name: sb.name,
      raid_size: sb.raidSizeBlocks,
      block_size: sb.blockSize,
      level: sb.level,
      strip_size_blocks: sb.stripSizeBlocks,
      state: sb.state,
      seq_number: sb.seqNumber,
      num_base_bdevs: sb.numBaseBdevs,
      base_bdevs_size: sb.members.length,
      base_bdevs: sb.members.map((m) => ({
        uuid: m.uuid,
        data_offset: m.dataOffsetBlocks,
        data_size: m.dataSizeBlocks,
        state: stateNames[m.state],
        flags: m.flags,
        slot: m.slot,
      })),
    }).toEqual(account);
    expect(parsed.warnings).toEqual([]);
    expect(Buffer.compare(encodeSuperblock(sb), bytes.subarray(0, parsed.length))).toBe(0);
  });

  it('are all there', () => {
    expect(golden).toHaveLength(31);
  });
});

describe('encodeSuperblock', () => {
  it('puts every field where the table of the format says, and parses back', () => {
    fc.assert(
      fc.property(superblocks, fc.nat(64), (sb, slack) => {
        const bytes = encodeSuperblock(sb);
        expect(decodeByTable(bytes)).toEqual(sb);
        // This works also at an odd offset inside a longer buffer.
        const longer = new Uint8Array(bytes.length + 3 + slack).fill(0xee);
        longer.set(bytes, 3);
        expect(parseSuperblock(longer.subarray(3))).toEqual({
          ok: true,
          superblock: sb,
          length: bytes.length,
          warnings: sb.versionMinor > 0 ? [expect.stringContaining('minor version')] : [],
        });
      }),
    );
  });

  const refused: [string, Superblock][] = [
    ['versionMajor', { ...valid, versionMajor: 2 }],
    ['versionMinor', { ...valid, versionMinor: 65536 }],
    ['flags', { ...valid, flags: -1 }],
    ['uuid', { ...valid, uuid: '00000000-0000-0000-0000-000000000000' }],
    ['uuid', { ...valid, uuid: '5d190000000040008000000000000000' }],
    ['name', { ...valid, name: '' }],
    ['name', { ...valid, name: 'x'.repeat(64) }],
    ['name', { ...valid, name: 'ä'.repeat(32) }],
    ['name', { ...valid, name: 'a\0' }],
    ['name', { ...valid, name: 'a\u0085b' }],
    ['name', { ...valid, name: 'a\ud800' }],
    ['raidSizeBlocks', { ...valid, raidSizeBlocks: 2 ** 53 }],
    ['blockSize', { ...valid, blockSize: 520 }],
    ['blockSize', { ...valid, blockSize: 256 }],
    ['blockSize', { ...valid, blockSize: 131072 }],
    ['level', { ...valid, level: 2 ** 32 }],
    ['stripSizeBlocks', { ...valid, stripSizeBlocks: 3 }],
    ['stripSizeBlocks', { ...valid, stripSizeBlocks: NaN }],
    ['state', { ...valid, state: 0.5 }],
    ['seqNumber', { ...valid, seqNumber: 2 ** 53 - 1 }],
    ['numBaseBdevs', { ...valid, numBaseBdevs: 0, members: [] }],
    ['members.length', { ...valid, numBaseBdevs: 4 }],
    ['members[2].slot', { ...valid, numBaseBdevs: 2 }],
    ['members[1].slot', withMember(1, { slot: 0 })],
    ['members[1].slot', withMember(1, { slot: 3 })],
    ['members[1].uuid', withMember(1, { uuid: valid.members[0]!.uuid.toUpperCase() })],
    ['members[0].uuid', withMember(0, { uuid: '00000000-0000-0000-0000-000000000000' })],
    ['members[2].uuid', withMember(2, { uuid: 'x' })],
    ['members[2].state', withMember(2, { state: 4 as MemberState })],
    ['members[2].flags', withMember(2, { flags: 2 ** 32 })],
    ['members[0].dataOffsetBlocks', withMember(0, { dataOffsetBlocks: -1 })],
    ['members[0].dataSizeBlocks', withMember(0, { dataOffsetBlocks: 1, dataSizeBlocks: Number.MAX_SAFE_INTEGER })],
  ];
  it.each(refused)('refuses a wrong %s', (field, sb) => {
    expect(() => encodeSuperblock(sb)).toThrow(SuperblockFieldError);
    expect(() => encodeSuperblock(sb)).toThrow(expect.objectContaining({ field, code: 'ERR_SUPERBLOCK_FIELD' }));
  });

  it('allows what the rules on configured members do not forbid', () => {
    const missing = { state: MemberState.Missing, uuid: '00000000-0000-0000-0000-000000000000' };
    for (const sb of [
      { ...valid, name: 'x'.repeat(63) },
      { ...valid, name: '\ufeffä 日本' },
      { ...valid, name: 'rack/1' },
      { ...valid, seqNumber: 2 ** 53 - 2 },
      { ...valid, stripSizeBlocks: 2 ** 31 },
      withMember(0, missing),
      withMember(1, { state: MemberState.Failed, uuid: valid.members[0]!.uuid }),
    ]) {
      expect(parseSuperblock(encodeSuperblock(sb))).toMatchObject({ ok: true, superblock: sb });
    }
  });
});

describe('parseSuperblock', () => {
  const bytes = encodeSuperblock(valid);
  const changed = (offset: number, ...values: number[]) => {
    const copy = bytes.slice();
    copy.set(values, offset);
    return copy;
  };

  it('sees that there is none', () => {
    for (const none of [new Uint8Array(4096), Buffer.from('SPDKRAIX'), Buffer.from('X'), changed(0, 0)]) {
      expect(parseSuperblock(none)).toMatchObject({ ok: false, reason: 'none' });
    }
  });

  it('asks for as many bytes as it needs', () => {
    expect(parseSuperblock(new Uint8Array(0))).toMatchObject({ reason: 'incomplete', neededBytes: 256 });
    expect(parseSuperblock(bytes.subarray(0, 255))).toMatchObject({ reason: 'incomplete', neededBytes: 256 });
    expect(parseSuperblock(bytes.subarray(0, 256))).toMatchObject({ reason: 'incomplete', neededBytes: 448 });
    expect(parseSuperblock(bytes.subarray(0, 447))).toMatchObject({ reason: 'incomplete', neededBytes: 448 });
    const largest = encodeSuperblock({
      ...valid,
      numBaseBdevs: 255,
      members: Array.from({ length: 255 }, (_, slot) => ({ ...valid.members[0]!, state: MemberState.Missing, slot })),
    });
    expect(largest).toHaveLength(16576);
    expect(parseSuperblock(largest.subarray(0, 4096))).toMatchObject({ reason: 'incomplete', neededBytes: 16576 });
    expect(parseSuperblock(largest)).toMatchObject({ ok: true, length: 16576 });
  });

  it('never asks for more than the largest superblock', () => {
    expect(parseSuperblock(changed(12, 0xc1, 0x40, 0, 0))).toMatchObject({ reason: 'invalid', field: 'length' });
    expect(parseSuperblock(changed(12, 0xff, 0xff, 0xff, 0xff))).toMatchObject({ reason: 'invalid', field: 'length' });
    expect(parseSuperblock(changed(12, 0xff, 0, 0, 0))).toMatchObject({ reason: 'invalid', field: 'length' });
  });

  it('notices any single flipped bit', () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const copy = bytes.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      expect(parseSuperblock(copy).ok, `bit ${bit}`).toBe(false);
    }
    expect(parseSuperblock(changed(300, 1))).toMatchObject({ reason: 'damaged', field: 'crc' });
  });

  it.each<[string, string, number, number[], string]>([
    ['unsupported', 'versionMajor', 8, [2, 0], 'version 2'],
    ['invalid', 'length', 255, [4], '448'],
    ['invalid', 'name', 40, [...Buffer.alloc(64, 'x')], '64 bytes'],
    ['invalid', 'name', 40, [0], '0 bytes'],
    ['invalid', 'name', 40, [0xff], 'ff72726179'],
    ['invalid', 'name', 40, [0x0a], '\\nrray'],
    ['invalid', 'uuid', 24, Array<number>(16).fill(0), 'null UUID'],
    ['invalid', 'raidSizeBlocks', 104, [0, 0, 0, 0, 0, 0, 0x20, 0], '9007199254740991'],
    ['invalid', 'blockSize', 112, [8, 2], '520'],
    ['invalid', 'stripSizeBlocks', 120, [3], 'power of two'],
    ['invalid', 'seqNumber', 128, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0], '9007199254740990'],
    ['invalid', 'numBaseBdevs', 136, [0], '255'],
    ['invalid', 'members.length', 136, [4], '4'],
    ['invalid', 'members[1].slot', 256 + 64 + 40, [3], '2'],
    ['invalid', 'members[1].slot', 256 + 64 + 40, [0], 'another entry'],
    ['invalid', 'members[1].uuid', 256 + 64 + 15, [0], 'another configured'],
    ['invalid', 'members[0].state', 256 + 32, [4], '3'],
    ['invalid', 'members[0].dataSizeBlocks', 256 + 24, [0, 0, 0, 0, 0, 0, 0x20, 0], '9007199254738943'],
  ])('%s: %s', (reason, field, offset, values, saying) => {
    const result = parseSuperblock(fixCrc(changed(offset, ...values)));
    expect(result).toMatchObject({ ok: false, reason, field, message: expect.stringContaining(saying) as string });
  });

  it('warns of what writing it again would lose', () => {
    expect(parseSuperblock(fixCrc(changed(60, 1)))).toMatchObject({ ok: true, warnings: [expect.stringContaining('name')] });
    expect(parseSuperblock(fixCrc(changed(254, 1)))).toMatchObject({
      ok: true,
      warnings: [expect.stringContaining('reserved')],
    });
    expect(parseSuperblock(fixCrc(changed(447, 1)))).toMatchObject({
      ok: true,
      warnings: [expect.stringContaining('reserved')],
    });
    expect(parseSuperblock(fixCrc(changed(10, 1)))).toMatchObject({
      ok: true,
      warnings: [expect.stringContaining('minor version 1')],
    });
  });
});

describe('checkAgainstDevice', () => {
  const uuid = valid.members[1]!.uuid;
  const device = { blockSize: 512, numBlocks: 16384 };

  it('accepts a device that the data area fits exactly, and names the entry', () => {
    expect(checkAgainstDevice(valid, uuid.toUpperCase(), device)).toEqual({ ok: true, member: valid.members[1] });
  });

  it('prefers the configured of two entries', () => {
    const sb = withMember(0, { uuid, state: MemberState.Failed });
    expect(checkAgainstDevice(sb, uuid, device)).toEqual({ ok: true, member: sb.members[1] });
  });

  it.each<[string, Superblock, string, { blockSize: number; numBlocks: number }]>([
    ['another block size', valid, uuid, { ...device, blockSize: 4096 }],
    ['a device that is one block short', valid, uuid, { ...device, numBlocks: 16383 }],
    ['a device that is not listed', valid, valid.uuid, device],
    [
      'a null UUID',
      withMember(0, { uuid: '00000000-0000-0000-0000-000000000000', state: MemberState.Missing }),
      '00000000-0000-0000-0000-000000000000',
      device,
    ],
    ['a data area over the superblock', withMember(1, { dataOffsetBlocks: 2047 }), uuid, device],
    ['an empty data area', withMember(1, { dataSizeBlocks: 0 }), uuid, device],
  ])('refuses %s', (_, sb, memberUuid, dev) => {
    expect(checkAgainstDevice(sb, memberUuid, dev)).toMatchObject({ ok: false, message: expect.any(String) as string });
  });
});

it('crc32c of any number of bytes is that of one after the other', () => {
  const bytes = Uint8Array.from({ length: 40 }, (_, index) => (index * 151 + 7) & 255);
  for (let start = 0; start < 5; start++) {
    let oneByOne = 0xdead_beef;
    for (let end = start; end < bytes.length; end++) {
      expect(crc32c(bytes, start, end, 0xdead_beef)).toBe(oneByOne);
      oneByOne = crc32c(bytes, end, end + 1, oneByOne);
    }
  }
});

it('crc32c is the raw form, and goes on from where it stopped', () => {
  const digits = Buffer.from('123456789');
  expect(crc32c(digits)).toBe(0x58e3fa20);
  expect(crc32c(digits, 4, 9, crc32c(digits, 0, 4))).toBe(0x58e3fa20);
  expect((crc32c(digits, 0, 9, 0xffffffff) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
});
