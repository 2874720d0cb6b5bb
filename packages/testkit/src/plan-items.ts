import type { IoType } from '@raidkit/bdev';
import type { LevelOptions, RegionLimits } from '@raidkit/core';
import type { CutMode, Latency } from './disk-faults.js';
import type { MetadataArea } from './metadata-areas.js';

/** Actions of an operator on background processes. */
export const processActions = ['check', 'repair', 'pause', 'resume', 'cancel', 'slow', 'fast'] as const;
export type ProcessAction = (typeof processActions)[number];

/** Kinds of silent corruption: a write is acknowledged but lost, or done in the wrong place, or a bit flips later. */
export const lieKinds = ['lost', 'misdirected', 'corrupt'] as const;
export type LieKind = (typeof lieKinds)[number];

/** The area of a disk that is affected. */
export type LiePlace = MetadataArea | 'checksums' | 'data';

/** Unusual shapes of an array. */
export const shapeKinds = ['wide', 'very wide', 'no superblock', 'slow background work', 'daemon'] as const;
export type ShapeKind = (typeof shapeKinds)[number];

/** Temporary faults of a disk. */
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

/** Ways in which a process ends. */
export type Ending = 'power' | 'kill' | 'stop';

/** An item of a plan: something that happens in a simulation. Times are virtual milliseconds from the array's creation. */
export type PlanItem =
  | {
      kind: 'io';
      at: number;
      client: number;
      type: IoType;
      flags: number;
      /** Position: a fraction of the volume, plus `delta` blocks. */
      zone: number;
      delta: number;
      numBlocks: number;
      /** Number of consecutive requests that are sent at once. Default: 1. */
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
      /** Users write near it, and the array crashes `afterMs` after a read of it has completed. Absent: no crash. */
      crash?: { how: 'power' | 'kill'; mode: CutMode; afterMs: number };
    }
  | {
      kind: 'metadataLie';
      at: number;
      disk: number;
      how: LieKind;
      where: LiePlace;
      /** Number of bits or writes. */
      count: number;
      /** The area to which misdirected writes go. */
      onto: LiePlace;
      place: number;
      /** Bits flip while the disk is not in use, after the next crash. */
      isAtCrash: boolean;
    }
  | { kind: 'spare'; at: number; disk: number }
  /** A member is replaced by another disk while it still works. */
  | { kind: 'replace'; at: number; disk: number }
  /** An unclaimed disk becomes a further copy, in an empty or a new slot. */
  | { kind: 'copy'; at: number; disk: number }
  /** A member is removed permanently, with its slot. */
  | { kind: 'shrink'; at: number; disk: number }
  | { kind: 'process'; at: number; action: ProcessAction }
  | { kind: 'grow'; at: number; numBlocks: number }
  /** Turns checksums on, as soon as there is room, or off. */
  | { kind: 'integrity'; at: number; isOn: boolean }
  /** All disks fail writes, and perhaps flushes, for a while. */
  | { kind: 'outage'; at: number; ms: number; failsFlushes: boolean }
  /** Others have all common buffers, but so many, for a while. */
  | { kind: 'hoard'; at: number; ms: number; free: number }
  /** Faults stop and users wait until everything is at rest; then the array is checked, and copies of it are tested further. */
  | { kind: 'rest'; at: number }
  /** The process ends, another program runs the array by SPDK's rules with this many writes, and ends too. */
  | { kind: 'foreign'; at: number; before: Ending; how: Ending; mode: CutMode; writes: number }
  /** There are no faults from here on. */
  | { kind: 'calm'; at: number }
  | { kind: 'remove'; at: number; disk: number }
  | { kind: 'add'; at: number; disk: number }
  | {
      kind: 'restart';
      at: number;
      how: Ending;
      mode: CutMode;
      downMs: number;
      /** A disk that appears only later; -1 if all are present. */
      absent: number;
    };

/** Properties of a simulated array. */
export interface SimShape {
  numSlots: number;
  /** Number of disks, members and spares together. */
  numDisks: number;
  blockSize: number;
  stripSizeKb: number;
  memberBlocks: number[];
  latencies: Latency[];
  hasWriteCache: boolean;
  hasForceUnitAccess: boolean;
  windowSizeKb: number;
  /** Level options. Default: none. */
  levelOptions?: LevelOptions;
  /** What is unusual about the array. */
  kind?: ShapeKind;
  /** I/O types that each disk lacks. Default: none. */
  lacking?: readonly (readonly IoType[])[];
  /** Regions per page of the bitmap. Default: as many as fit. */
  regionsPerPage?: number;
  /** Limits of regions. Default: those of real arrays. */
  regions?: Partial<RegionLimits>;
  /** Checksums: `cachePages` pages of them fit in memory; `isLater`: the array is created without and may get them later. */
  integrity?: { cachePages: number; isLater?: boolean; mostBadRanges?: number };
  /** Limit of background processes, in MiB of the volume per second. Default: none. */
  maxBandwidthMbSec?: number;
  /** Faults may exceed what redundancy covers: errors are then allowed, but wrong data never is. */
  isOverBudget: boolean;
}

/** A complete simulation, drawn from its seed. */
export interface SimPlan {
  seed: number;
  shape: SimShape;
  items: PlanItem[];
}
