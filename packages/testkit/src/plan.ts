import { IoType } from '@raidkit/bdev';
import type { LevelOptions, RaidModule } from '@raidkit/core';
import { drawExtras } from './plan-extras.js';
import { drawDevices } from './plan-devices.js';
import { drawOutages } from './plan-outages.js';
import { drawShortages } from './plan-shortages.js';
import { drawStreams } from './plan-streams.js';
import { drawTrims } from './plan-trims.js';
import { drawForeign } from './plan-foreign.js';
import { drawConversions, drawFoundLies, drawGrowth, drawIntegrity, drawLies } from './plan-integrity.js';
import { drawMetadataLies } from './plan-metadata-lies.js';
import { drawRests } from './plan-rests.js';
import { drawSlots } from './plan-slots.js';
import { drawRegions, drawShapeKind } from './plan-shapes.js';
import { faultKinds } from './plan-items.js';
import type { PlanItem, SimPlan, SimShape } from './plan-items.js';
import { Random } from './random.js';
import { acceptedSlots, leastSlots } from './slots.js';
import type { Latency, CutMode } from './disk-faults.js';

const latencies: readonly Latency[] = [
  { leastMs: 0.02, meanMs: 0.05 },
  { leastMs: 0.1, meanMs: 1 },
  { leastMs: 1, meanMs: 8 },
];

/** Largest number of rows in a stripe of a level with options. */
const mostRows = 4;

/** Kinds of items that plans may have besides users and faults; by default all. Leaving one out does not change the others. */
export interface PlanOptions {
  hasExtras?: boolean;
  hasTrims?: boolean;
  hasStreams?: boolean;
  hasRests?: boolean;
  hasForeign?: boolean;
  hasShapes?: boolean;
  hasDevices?: boolean;
  hasShortages?: boolean;
  hasOutages?: boolean;
  hasIntegrity?: boolean;
  /** Silent corruption that reads find, followed by a crash. */
  hasFoundLies?: boolean;
  hasSlots?: boolean;
  hasMetadataLies?: boolean;
  /**
   * Whether metadata of arrays with one member is corrupted too: no other member has a copy of it, and nothing reveals that it
   * was lost. Default: no.
   */
  hasLoneMetadataLies?: boolean;
  /** Sets of level options; each array has one of them. Default: none. */
  levelOptions?: readonly LevelOptions[];
}

/** Draws a simulation for the level. Each seed selects its own operations and faults, and their rates. */
export function drawPlan(seed: number, module: RaidModule, options: PlanOptions = {}): SimPlan {
  const { hasDevices = true, hasExtras = true, hasForeign = true, hasIntegrity = true } = options;
  const { hasOutages = true, hasRests = true, hasShapes = true, hasShortages = true, hasSlots = true } = options;
  const { hasFoundLies = true, hasMetadataLies = true, hasStreams = true, hasTrims = true } = options;
  const random = new Random(seed, 0);
  const given = options.levelOptions ?? [];
  // Drawn from a random stream of its own.
  const levelOptions = given.length === 0 ? {} : new Random(seed, 11).pick(given);
  const drawn = { ...drawShape(random, module, levelOptions), levelOptions };
  const usual = given.length === 0 ? drawn : withRoom(drawn);
  const shaped = hasShapes ? drawRegions(seed, drawShapeKind(seed, module, usual)) : usual;
  const made = hasDevices ? drawDevices(seed, module, shaped) : shaped;
  const shape = hasIntegrity ? drawIntegrity(seed, made) : made;
  const numOps = random.int(10, 140);
  const gapMs = random.pick([0.1, 0.5, 3, 20, 300]);
  const totalMs = numOps * gapMs + 50;
  // Another program does not know level options.
  const mayBeForeign = hasForeign && shape.kind !== 'no superblock' && module.optionsDefineLayout !== true;
  const foreign = mayBeForeign ? drawForeign(seed, module, totalMs) : [];
  // Another program has no bitmap, so unmapped blocks may hold anything, and corruption there could not be told.
  const lies = foreign.length === 0 ? drawLies(seed, shape, totalMs) : [];
  const mayUnmap = foreign.length === 0 && lies.length === 0 && module.manifest.nullPayload;
  const items = [...drawIo(random, shape, numOps, totalMs), ...drawTrouble(random, shape, module, totalMs), ...foreign];
  const conversions = hasIntegrity ? drawConversions(seed, shape, totalMs) : { shape, items: [] };
  if (hasFoundLies && lies.length > 0) items.push(...drawFoundLies(seed, shape, totalMs));
  items.push(...lies, ...drawGrowth(seed, shape, totalMs), ...conversions.items);
  const extras = hasExtras ? drawExtras(seed, module, shape, totalMs) : [];
  // If an array without superblocks is created again from grown members, its layout may be another one.
  const mayGrow = shape.kind !== 'no superblock' || module.redundancy !== 'none';
  // Arrays with checksums have corruption of their own items.
  const mayLie = shape.integrity === undefined;
  items.push(...extras.filter(({ kind }) => (mayGrow || kind !== 'grow') && (mayLie || kind !== 'lie')));
  if (hasTrims && mayUnmap) items.push(...drawTrims(seed, module, totalMs));
  if (hasStreams) items.push(...drawStreams(seed, module, shape, totalMs));
  if (hasShortages) items.push(...drawShortages(seed, shape, totalMs));
  if (hasRests) items.push(...drawRests(seed, totalMs));
  const slots = hasSlots ? drawSlots(seed, module, conversions.shape, totalMs) : { shape: conversions.shape, items: [] };
  items.push(...slots.items);
  // After another program has run the array, its headers prove little anyway.
  const mayLieOfRecords = slots.shape.numSlots > 1 || options.hasLoneMetadataLies === true;
  if (hasMetadataLies && mayLieOfRecords && foreign.length === 0)
    items.push(...drawMetadataLies(seed, module, slots.shape, totalMs, conversions.items.length > 0));
  if (hasOutages) items.push(...drawOutages(seed, shape, items, totalMs));
  items.sort((a, b) => a.at - b.at);
  const isUsual = (item: PlanItem): boolean => mayUnmap || item.kind !== 'io' || item.type !== IoType.Unmap;
  return { seed, shape: slots.shape, items: items.filter(isUsual) };
}

/** Returns the plan for an array without checksums, which has no corruption either. */
export function withoutIntegrity({ items, seed, shape }: SimPlan): SimPlan {
  const { integrity, ...rest } = shape;
  return {
    seed,
    shape: rest,
    items: items.filter(({ kind }) => integrity === undefined || (kind !== 'integrity' && kind !== 'lie')),
  };
}

/** Returns the plan with larger disks, for a level whose stripe does not fit on its own. */
export function withLargerDisks({ items, seed, shape }: SimPlan): SimPlan {
  const more = (2 * 1024 * 1024) / shape.blockSize;
  return { seed, shape: { ...shape, memberBlocks: shape.memberBlocks.map((blocks) => blocks + more) }, items };
}

function drawShape(random: Random, module: RaidModule, levelOptions: LevelOptions): SimShape {
  const drawn = random.int(leastSlots(module), Math.max(2, module.baseBdevsMin) + (random.chance(0.3) ? 2 : 1));
  const numSlots = acceptedSlots(module, drawn, levelOptions);
  const blockSize = random.chance(0.8) ? 512 : 4096;
  const numDisks = numSlots + (random.chance(0.4) ? 1 : 0);
  const reserved = (1 << 20) / blockSize;
  const kib = 1024 / blockSize;
  const base = random.pick([64, 256, 1100, 2200]);
  const isUneven = random.chance(0.3);
  const memberBlocks = Array.from({ length: numDisks }, (_, index) => {
    const extra = index >= numSlots ? 200 : isUneven ? random.int(0, 60) : 0;
    return reserved + Math.ceil((base + extra) * kib);
  });
  const latency = random.pick(latencies);
  const isMixed = random.chance(0.3);
  return {
    numSlots,
    numDisks,
    blockSize,
    stripSizeKb: module.manifest.stripSize === 'none' ? 0 : random.pick([4, 8, 16, 64]),
    memberBlocks,
    latencies: memberBlocks.map(() => (isMixed ? random.pick(latencies) : latency)),
    hasWriteCache: random.chance(0.85),
    hasForceUnitAccess: random.chance(0.5),
    windowSizeKb: random.pick([16, 64, 256, 1024]),
    isOverBudget: random.chance(0.15),
  };
}

/** Enlarges members, because a stripe of a level with options may have several rows of strips. */
function withRoom(shape: SimShape): SimShape {
  const least = ((1024 + mostRows * shape.stripSizeKb) * 1024) / shape.blockSize;
  return { ...shape, memberBlocks: shape.memberBlocks.map((blocks) => Math.max(blocks, least)) };
}

function drawIo(random: Random, shape: SimShape, numOps: number, totalMs: number): PlanItem[] {
  const numClients = random.int(1, 4);
  const zones = Array.from({ length: random.int(1, 4) }, () => random.unit());
  const zoneBlocks = random.pick([2, 8, 64]);
  const mostBlocks = random.pick([1, 4, 16, 64]);
  const isScattered = random.chance(0.3);
  const weights: [IoType, number][] = [
    [IoType.Write, 4],
    [IoType.Read, random.pick([1, 4])],
    [IoType.Flush, random.pick([0, 0.5, 2])],
    [IoType.WriteZeroes, random.pick([0, 0, 0.5])],
    [IoType.Unmap, random.pick([0, 0, 0.5])],
  ];
  const fuaRate = random.pick([0, 0, 0.2]);
  const isBursty = random.chance(0.5);
  const ioOf = (at: number): PlanItem => {
    const type = weighted(random, weights);
    const isWrite = type === IoType.Write || type === IoType.WriteZeroes;
    const numBlocks = random.chance(0.05) ? random.int(1, 256) : random.int(1, mostBlocks);
    return {
      kind: 'io',
      at,
      client: random.int(0, numClients - 1),
      type,
      flags: isWrite && random.chance(fuaRate) ? 1 : 0,
      zone: isScattered ? random.unit() : random.pick(zones),
      delta: random.int(0, zoneBlocks),
      numBlocks: Math.max(1, Math.floor((numBlocks * 512) / shape.blockSize)),
    };
  };
  const bursts = Array.from({ length: random.int(1, 6) }, () => random.unit() * totalMs);
  return Array.from({ length: numOps }, () => {
    const at = isBursty ? random.pick(bursts) + random.exponential(5) : random.unit() * totalMs;
    return ioOf(at);
  });
}

function drawTrouble(random: Random, shape: SimShape, module: RaidModule, totalMs: number): PlanItem[] {
  const items: PlanItem[] = [];
  const kinds = faultKinds.filter(() => random.chance(0.4));
  const disk = (): number => random.int(0, shape.numDisks - 1);
  const at = (): number => random.unit() * totalMs;
  const isRedundant = module.redundancy !== 'none';
  const repeat = (most: number, make: () => PlanItem): void => {
    for (let left = random.int(0, most); left > 0; left--) items.push(make());
  };
  if (kinds.length > 0 && random.chance(0.8)) {
    repeat(6, () => ({
      kind: 'fault',
      at: at(),
      disk: disk(),
      fault: random.pick(kinds),
      ms: random.exponential(totalMs / 4),
      amount: random.unit(),
    }));
  }
  if (random.chance(0.3)) {
    repeat(3, () => ({
      kind: 'vanish',
      at: at(),
      disk: disk(),
      ms: random.exponential(totalMs / 3),
      returns: random.pick(['same', 'cut', 'old']),
    }));
    repeat(2, () => ({ kind: 'snapshot', at: at() / 2, disk: disk() }));
  }
  if (isRedundant && random.chance(0.3)) repeat(3, () => ({ kind: 'remove', at: at(), disk: disk() }));
  if (isRedundant && random.chance(0.8)) repeat(6, () => ({ kind: 'add', at: at(), disk: disk() }));
  const restarts = random.pick([0, 1, 1, 2, 4]);
  const hows: ('power' | 'kill' | 'stop')[] = random.pick([['power'], ['kill'], ['power', 'kill', 'stop']]);
  for (let i = 0; i < restarts; i++) {
    items.push({
      kind: 'restart',
      at: at(),
      how: random.pick(hows),
      mode: random.int(0, 3) as CutMode,
      downMs: random.exponential(100),
      absent: random.chance(0.2) ? disk() : -1,
    });
  }
  if (isRedundant && random.chance(0.2)) items.push(...drawBrokenRebuild(random, disk(), at()));
  return items;
}

/** A member is removed and added again, and the power fails at about the time of its rebuild. */
function drawBrokenRebuild(random: Random, disk: number, at: number): PlanItem[] {
  const addAt = at + 5 + random.exponential(10);
  const cutAt = addAt + random.exponential(40);
  const mode = random.int(0, 3) as CutMode;
  return [
    { kind: 'remove', at, disk },
    { kind: 'add', at: addAt, disk },
    { kind: 'restart', at: cutAt, how: 'power', mode, downMs: 10, absent: -1 },
  ];
}

function weighted<T>(random: Random, weights: readonly (readonly [T, number])[]): T {
  let left = random.unit() * weights.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [value, weight] of weights) {
    left -= weight;
    if (left < 0) return value;
  }
  return random.pick(weights)[0];
}
