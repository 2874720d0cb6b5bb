import type { ChecksumPageCodec, ChecksumPageMemory, ChecksumPages, MemberLife } from '@raidkit/core';
import { crc32c } from './crc32c.js';
import { writeUuid, writeIncarnation } from './fields.js';

/**
 * A page of sums consists of eight records, each valid by itself. If power fails in the middle of a page write, there are old
 * and new records but no broken one, because a sector is written whole or not at all. docs/on-disk-format.md has the table.
 */
export const checksumPageLayout = {
  pageBytes: 4096,
  recordBytes: 512,
  /** Size of the header before a record's sums. */
  headerBytes: 32,
  sumBytes: 8,
} as const;

const { headerBytes, pageBytes, recordBytes, sumBytes } = checksumPageLayout;
const recordsPerPage = pageBytes / recordBytes;
const sumsPerRecord = (recordBytes - headerBytes) / sumBytes;

/** `RKSM` as a little-endian number. */
const magic = 0x4d53_4b52;
const crcAt = 4;
const incarnationAt = 8;
const numberAt = 16;
const reservedAt = 24;
const zeroWord = new Uint8Array(4);

/** Encodes and checks the records of one member, for one incarnation of its array. */
class RecordCodec implements ChecksumPageCodec {
  /** CRC of the two uuids, from which a record's checksum continues: another member's record thus has a wrong checksum. */
  readonly #initial: number;
  readonly #incarnationLow: number;
  readonly #incarnationHigh: number;

  constructor(life: MemberLife) {
    const identity = new Uint8Array(40);
    writeUuid(identity, 0, life.uuid);
    writeUuid(identity, 16, life.memberUuid);
    writeIncarnation(identity, 32, life.incarnation);
    const view = new DataView(identity.buffer);
    this.#initial = crc32c(identity, 0, 32);
    this.#incarnationLow = view.getUint32(32, true);
    this.#incarnationHigh = view.getUint32(36, true);
  }

  seal({ u8, view }: ChecksumPageMemory, addr: number, page: number): void {
    for (let record = 0; record < recordsPerPage; record++) {
      const at = addr + record * recordBytes;
      const number = page * recordsPerPage + record;
      view.setUint32(at, magic, true);
      view.setUint32(at + incarnationAt, this.#incarnationLow, true);
      view.setUint32(at + incarnationAt + 4, this.#incarnationHigh, true);
      view.setUint32(at + numberAt, number % 2 ** 32, true);
      view.setUint32(at + numberAt + 4, Math.floor(number / 2 ** 32), true);
      view.setUint32(at + reservedAt, 0, true);
      view.setUint32(at + reservedAt + 4, 0, true);
      view.setUint32(at + crcAt, this.#checksum(u8, at), true);
    }
  }

  goodRecords({ u8, view }: ChecksumPageMemory, addr: number, page: number): number {
    let good = 0;
    for (let record = 0; record < recordsPerPage; record++) {
      const at = addr + record * recordBytes;
      const number = page * recordsPerPage + record;
      const isGood =
        view.getUint32(at, true) === magic &&
        view.getUint32(at + incarnationAt, true) === this.#incarnationLow &&
        view.getUint32(at + incarnationAt + 4, true) === this.#incarnationHigh &&
        view.getUint32(at + numberAt, true) === number % 2 ** 32 &&
        view.getUint32(at + numberAt + 4, true) === Math.floor(number / 2 ** 32) &&
        view.getUint32(at + reservedAt, true) === 0 &&
        view.getUint32(at + reservedAt + 4, true) === 0 &&
        view.getUint32(at + crcAt, true) === this.#checksum(u8, at);
      if (isGood) good |= 1 << record;
    }
    return good;
  }

  #checksum(u8: Uint8Array, at: number): number {
    const head = crc32c(zeroWord, 0, 4, crc32c(u8, at, at + crcAt, this.#initial));
    return crc32c(u8, at + incarnationAt, at + recordBytes, head);
  }
}

/** raidkit's layout of checksum pages. */
export const checksumPages: ChecksumPages = {
  pageBytes,
  recordsPerPage,
  sumsPerRecord,
  sumAt: (index) => Math.floor(index / sumsPerRecord) * recordBytes + headerBytes + (index % sumsPerRecord) * sumBytes,
  codecFor: (life) => new RecordCodec(life),
};
