import type { BdevDescriptor } from '@raidkit/bdev';

/** What is recorded of one slot. */
export interface SlotRecord {
  /** The member bdev's uuid; the null uuid for an empty slot. */
  uuid: string;
  dataOffsetBlocks: number;
  dataSizeBlocks: number;
  /** `configured`: current. `missing`: taken out on request. `failed`: thrown out for an error. */
  state: 'configured' | 'missing' | 'failed';
}

/** What is recorded of an array, on each of its members. */
export interface ArrayRecord {
  uuid: string;
  name: string;
  /** The level's code. */
  level: number;
  blockSize: number;
  /** 0 where the level has no strips. */
  stripSizeBlocks: number;
  numBlocks: number;
  /** Grows with every write. */
  seqNumber: number;
  slots: SlotRecord[];
}

/** What a device has where a superblock would be. */
export type ReadResult =
  | { kind: 'none' }
  /** Something that was meant to be a superblock and cannot be used; `message` says why. */
  | { kind: 'unusable'; message: string }
  | { kind: 'found'; record: ArrayRecord };

/** Reads and writes superblocks. Defined here, implemented by `@raidkit/superblock`, handed in by the composer. */
export interface SuperblockStore {
  /** Bytes at the start of a member that are not data. */
  readonly reservedBytes: number;
  /** Rejects only if the device cannot be read. */
  read(descriptor: BdevDescriptor): Promise<ReadResult>;
  /** Resolves when the record is on stable media of this member. */
  write(descriptor: BdevDescriptor, record: ArrayRecord): Promise<void>;
  /** Resolves when no superblock is left on stable media. */
  clear(descriptor: BdevDescriptor): Promise<void>;
}

/** The uuid of nothing. */
export const nullUuid = '00000000-0000-0000-0000-000000000000';
