import type { IoType } from '@raidkit/bdev';
import type { LevelOptions, RegionLimits } from '@raidkit/core';
import type { CutMode, Latency } from './disk-faults.js';
import type { MetadataArea } from './metadata-areas.js';

/** What an operator does with background processes. */
export const processActions = ['check', 'repair', 'pause', 'resume', 'cancel', 'slow', 'fast'] as const;
export type ProcessAction = (typeof processActions)[number];

/** How a disk lies: it answers, and does nothing, or the right thing in the wrong place, or loses a bit later on. */
export const lieKinds = ['lost', 'misdirected', 'corrupt'] as const;
export type LieKind = (typeof lieKinds)[number];

/** What on a disk it lies about. */
export type LiePlace = MetadataArea | 'checksums' | 'data';

/** What an array is made of that not every one is. */
export const shapeKinds = ['wide', 'very wide', 'no superblock', 'slow background work', 'daemon'] as const;
export type ShapeKind = (typeof shapeKinds)[number];

/** What can be wrong with a disk for a while. */
export const faultKinds = [
  'latent',
  'readErrors',
  'writeErrors',
  'writeErrorOnce',
  'flushErrorOnce',
  'full',
  'slow',
  'stuck',
  'busy',
] as const;
export type FaultKind = (typeof faultKinds)[number] | 'readOnly' | 'hung' | 'thin';

/** How a process ends. */
export type Ending = 'power' | 'kill' | 'stop';

/** One thing that a simulation does. Times are virtual milliseconds from the array's creation. */
export type PlanItem =
  | {
      kind: 'io';
      at: number;
      client: number;
      type: IoType;
      flags: number;
      /** Where, as a fraction of the volume, and so many blocks further. */
      zone: number;
      delta: number;
      numBlocks: number;
      /** So many of them, sent at once, each behind the one before. Default: 1. */
      inRow?: number;
    }
  | { kind: 'fault'; at: number; disk: number; fault: FaultKind; ms: number; amount: number }
  | { kind: 'vanish'; at: number; disk: number; ms: number; returns: 'same' | 'cut' | 'old' }
  | { kind: 'snapshot'; at: number; disk: number }
  | {
      kind: 'lie';
      at: number;
      disk: number;
      how: LieKind;
      place: number;
      /** Beside it users write, and the array crashes so long after a read of it was answered. Default: it need not. */
      crash?: { how: 'power' | 'kill'; mode: CutMode; afterMs: number };
    }
  | {
      kind: 'metadataLie';
      at: number;
      disk: number;
      how: LieKind;
      where: LiePlace;
      /** So many bits, or writes. */
      count: number;
      /** Where writes that are misdirected land. */
      onto: LiePlace;
      place: number;
      /** Bits turn over while the disk is not in use, after the next crash. */
      isAtCrash: boolean;
    }
  | { kind: 'spare'; at: number; disk: number }
  /** The disk is a member, and another one takes its place while it still serves. */
  | { kind: 'replace'; at: number; disk: number }
  /** A disk that is not claimed becomes one more copy, in an empty slot or in a new one. */
  | { kind: 'copy'; at: number; disk: number }
  /** A member goes for good, with its slot. */
  | { kind: 'shrink'; at: number; disk: number }
  | { kind: 'process'; at: number; action: ProcessAction }
  | { kind: 'grow'; at: number; numBlocks: number }
  /** The array is to have checksums from now on, as soon as there is room; or none. */
  | { kind: 'integrity'; at: number; isOn: boolean }
  /** Others have all common buffers, but so many, for a while. */
  | { kind: 'hoard'; at: number; ms: number; free: number }
  /** Faults stop and users wait until everything is at rest; then it is looked at, and copies of it are put to the test. */
  | { kind: 'rest'; at: number }
  /** The process ends, another program runs the array by SPDK's rules, with so many writes, and ends too. */
  | { kind: 'foreign'; at: number; before: Ending; how: Ending; mode: CutMode; writes: number }
  /** From here on nothing goes wrong any more. */
  | { kind: 'calm'; at: number }
  | { kind: 'remove'; at: number; disk: number }
  | { kind: 'add'; at: number; disk: number }
  | {
      kind: 'restart';
      at: number;
      how: Ending;
      mode: CutMode;
      downMs: number;
      /** A disk that appears only later; -1: all are there. */
      absent: number;
    };

/** What a simulated array is made of. */
export interface SimShape {
  numSlots: number;
  /** Disks, members and spares. */
  numDisks: number;
  blockSize: number;
  stripSizeKb: number;
  memberBlocks: number[];
  latencies: Latency[];
  hasWriteCache: boolean;
  hasForceUnitAccess: boolean;
  windowSizeKb: number;
  /** Options of the level. Default: none. */
  levelOptions?: LevelOptions;
  /** What is out of the ordinary. */
  kind?: ShapeKind;
  /** What each disk cannot do. Default: it can do everything. */
  lacking?: readonly (readonly IoType[])[];
  /** Regions of a page of the bitmap. Default: as many as there is room for. */
  regionsPerPage?: number;
  /** Default: as for real arrays. */
  regions?: Partial<RegionLimits>;
  /** The array has checksums, of which so many pages are in memory at a time; `isLater`: it is created without, and may get them. */
  integrity?: { cachePages: number; isLater?: boolean; mostBadRanges?: number };
  /** Limit of background work, in MiB of the volume a second. Default: no limit. */
  maxBandwidthMbSec?: number;
  /** Faults may be more than redundancy covers: errors are right then, wrong data never is. */
  isOverBudget: boolean;
}

/** A whole simulation, made from its seed. */
export interface SimPlan {
  seed: number;
  shape: SimShape;
  items: PlanItem[];
}
