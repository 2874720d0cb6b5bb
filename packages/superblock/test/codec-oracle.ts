// The format once more, written from its table alone: offsets as numbers, 64-bit fields as bigint, a checksum by bits.
import fc from 'fast-check';
import { type MemberState, type Superblock } from '../src/codec.js';

function uuidAt(bytes: Uint8Array, offset: number): string {
  return [...bytes.subarray(offset, offset + 16)]
    .map((byte, i) => ([4, 6, 8, 10].includes(i) ? '-' : '') + byte.toString(16).padStart(2, '0'))
    .join('');
}

/** Reads the fields without judging them. */
export function decodeByTable(bytes: Uint8Array): Superblock {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const nameBytes = bytes.subarray(40, 104);
  return {
    versionMajor: view.getUint16(8, true),
    versionMinor: view.getUint16(10, true),
    flags: view.getUint32(20, true),
    uuid: uuidAt(bytes, 24),
    name: Buffer.from(nameBytes.subarray(0, nameBytes.indexOf(0))).toString('utf8'),
    raidSizeBlocks: Number(view.getBigUint64(104, true)),
    blockSize: view.getUint32(112, true),
    level: view.getUint32(116, true),
    stripSizeBlocks: view.getUint32(120, true),
    state: view.getUint32(124, true),
    seqNumber: Number(view.getBigUint64(128, true)),
    numBaseBdevs: view.getUint8(136),
    members: Array.from({ length: view.getUint8(255) }, (_, i) => {
      const entry = 256 + 64 * i;
      return {
        uuid: uuidAt(bytes, entry),
        dataOffsetBlocks: Number(view.getBigUint64(entry + 16, true)),
        dataSizeBlocks: Number(view.getBigUint64(entry + 24, true)),
        state: view.getUint32(entry + 32, true) as MemberState,
        flags: view.getUint32(entry + 36, true),
        slot: view.getUint8(entry + 40),
      };
    }),
  };
}

const crcTable = Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n % 2 ? (((n - 1) / 2) ^ 0x82f63b78) >>> 0 : n / 2;
  return n;
});

function crcOf(bytes: Uint8Array, length: number): number {
  let crc = 0;
  for (let i = 0; i < length; i++) crc = (crc >>> 8) ^ crcTable[(crc ^ (i >= 16 && i < 20 ? 0 : bytes[i]!)) & 0xff]!;
  return crc >>> 0;
}

/** Gives `bytes` the checksum that its length field asks for, where that is possible. */
export function fixCrc(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 256) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(12, true);
  if (length >= 20 && length <= bytes.length) view.setUint32(16, crcOf(bytes, length), true);
  return bytes;
}

const BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
const STRIP_SIZES = [0, ...Array.from({ length: 32 }, (_, n) => 2 ** n)];
const NO_UUID = '\0'.repeat(16);
const uuidBytes = (bytes: Uint8Array, offset: number) => String.fromCharCode(...bytes.subarray(offset, offset + 16));
const isAllowed = (character: string) => character >= ' ' && !(character >= '\x7f' && character <= '\x9f');

/** Whether `bytes` start with a superblock that may be believed. */
export function isAcceptable(bytes: Uint8Array): boolean {
  if (bytes.length < 256 || String.fromCharCode(...bytes.subarray(0, 8)) !== 'SPDKRAID') return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(12, true);
  const entries = bytes[255]!;
  if (length !== 256 + 64 * entries || length > bytes.length || view.getUint32(16, true) !== crcOf(bytes, length)) return false;
  if (view.getUint16(8, true) !== 1) return false;

  const count = bytes[136]!;
  const name = bytes.subarray(40, 104);
  const text = Buffer.from(name.subarray(0, Math.max(0, name.indexOf(0))));
  const isText = Buffer.from(text.toString('utf8'), 'utf8').equals(text) && Array.from(text.toString('utf8')).every(isAllowed);
  if (text.length === 0 || !isText) return false;
  if (uuidBytes(bytes, 24) === NO_UUID) return false;
  if (!BLOCK_SIZES.includes(view.getUint32(112, true))) return false;
  if (!STRIP_SIZES.includes(view.getUint32(120, true))) return false;
  if (view.getBigUint64(104, true) >= 2n ** 53n || view.getBigUint64(128, true) > 2n ** 53n - 2n) return false;
  if (count === 0 || count > entries) return false;

  const slots: number[] = [];
  const configured: string[] = [];
  for (let entry = 256; entry < length; entry += 64) {
    slots.push(bytes[entry + 40]!);
    const state = view.getUint32(entry + 32, true);
    if (state > 3) return false;
    if (state === 1) configured.push(uuidBytes(bytes, entry));
    if (view.getBigUint64(entry + 16, true) + view.getBigUint64(entry + 24, true) >= 2n ** 53n) return false;
  }
  const allDifferent = (values: unknown[]) => new Set(values).size === values.length;
  return (
    slots.every((slot) => slot < count) && allDifferent(slots) && allDifferent(configured) && !configured.includes(NO_UUID)
  );
}

const u32 = fc.oneof(fc.constant(0), fc.nat(0xffffffff));
const u53 = fc.oneof(fc.nat(1 << 20), fc.maxSafeNat());
/** Version bits are fixed, so that these never are null. */
const uuid = fc.uuid({ version: 4 });

const nameText = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .filter((text) => Buffer.byteLength(text) <= 63 && !/[/\p{Cc}]/u.test(text));

/** Any superblock that may be written. */
export const superblocks: fc.Arbitrary<Superblock> = fc
  .oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 255 }))
  .chain((count) =>
    fc.record({
      versionMajor: fc.constant(1),
      versionMinor: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(65535)),
      flags: u32,
      uuid,
      name: nameText,
      raidSizeBlocks: u53,
      blockSize: fc.integer({ min: 9, max: 16 }).map((n) => 2 ** n),
      level: u32,
      stripSizeBlocks: fc.oneof(
        fc.constant(0),
        fc.integer({ min: 0, max: 31 }).map((n) => 2 ** n),
      ),
      state: u32,
      seqNumber: u53.map((n) => Math.min(n, 2 ** 53 - 2)),
      numBaseBdevs: fc.constant(count),
      members: fc
        .tuple(
          fc.uniqueArray(uuid, { minLength: count, maxLength: count, size: 'max' }),
          fc.shuffledSubarray(
            Array.from({ length: count }, (_, i) => i),
            { minLength: count, maxLength: count },
          ),
          fc.array(fc.record({ offset: u53, size: u53, state: fc.nat(3), flags: u32 }), {
            minLength: count,
            maxLength: count,
            size: 'max',
          }),
        )
        .map(([uuids, slots, rest]) =>
          rest.map(({ offset, size, state, flags }, i) => ({
            uuid: uuids[i]!,
            dataOffsetBlocks: offset,
            dataSizeBlocks: Math.min(size, Number.MAX_SAFE_INTEGER - offset),
            state: state as MemberState,
            flags,
            slot: slots[i]!,
          })),
        ),
    }),
  );
