import type { Bdev } from '@raidkit/bdev';
import type { RaidArray } from '../array/array.js';
import { Retries } from '../array/retries.js';
import type { ArrayNames, RaidContext } from '../array/context.js';
import { examineDeferred, examineLater } from '../assembly/assemble.js';
import { defaultRegionLimits } from '../bitmap/region-size.js';
import { SumsMemory, defaultCacheBytes } from '../checksums/sums-memory.js';
import type { RaidEventListener } from '../events.js';
import { RaidIoPool } from '../level/raid-io.js';
import { enableIfRoom } from '../membership/integrity.js';
import { endFailedMember } from '../membership/remove.js';
import { takeOffline } from '../start/start.js';
import { ResyncExclusion } from '../sync/resync-exclusion.js';
import { resyncLater } from '../sync/start-process.js';
import type { RaidArraysOptions } from './options.js';

const ofThisRegistry: ArrayNames = { enter: () => null, rename: () => null, leave: () => undefined };

/** Creates the shared state of array management, with defaults for options that are absent. */
export function newContext(
  options: RaidArraysOptions,
  emit: RaidEventListener,
  fillFromSpares: RaidContext['fillFromSpares'],
): RaidContext {
  const arrays = new Map<string, RaidArray>();
  const passedOver = new WeakSet<Bdev>();
  const ctx: RaidContext = {
    registry: options.registry,
    modules: options.modules,
    store: options.store ?? null,
    ...(options.findSignature === undefined ? {} : { findSignature: options.findSignature }),
    ios: new RaidIoPool(),
    sumsMemory: new SumsMemory(options.registry, options.checksumCacheBytes ?? defaultCacheBytes),
    arrays,
    list: (array) => void arrays.set(array.name, array),
    unlist: (name) => void arrays.delete(name),
    arrayNames: options.arrayNames ?? ofThisRegistry,
    processOptions: { windowSizeKb: 1024, maxBandwidthMbSec: 0, minBandwidthMbSec: 1, latencyTargetMs: 0 },
    resyncExclusion: new ResyncExclusion(),
    memberOptions: { ioTimeoutMs: 30_000, graceMs: 60_000, ...options.members },
    regionLimits: { ...defaultRegionLimits, ...options.regions },
    routesReads: options.routesReads ?? true,
    gathersWrites: options.gathersWrites ?? true,
    assemblyOptions: { start: 'auto', absentWaitMs: 1000, degradedStartMs: 0, ...options.assembly },
    retries: new Retries(options.registry.runtime),
    passOver: (bdev) => void passedOver.add(bdev),
    forgetPassedOver: (bdev) => passedOver.delete(bdev),
    mayExamine: options.mayExamine ?? (() => true),
    mayAssemble: options.mayAssemble ?? (() => true),
    holdsData: options.holdsData ?? (() => false),
    examineLater: (bdev, afterMs) => examineLater(ctx, bdev, afterMs === undefined ? {} : { afterMs }),
    emit,
    onPlaceFree: ({ name }) => {
      const array = ctx.arrays.get(name);
      if (array?.state !== 'online') return;
      examineDeferred(ctx, array).catch((error: unknown) => {
        array.log.error({ ...array.logFields(), err: error }, 'devices that wait for a slot could not be examined');
      });
    },
    fillFromSpares,
    onMemberFailed: (array, slot, reason) => endFailedMember(ctx, array, slot, reason),
    onLevelThrew: (array, reason) => {
      if (array.state !== 'online') return;
      takeOffline(ctx, array, reason).catch((error: unknown) => {
        array.log.error({ ...array.logFields(), err: error }, 'the array could not be taken offline cleanly');
      });
    },
    onRoomForSums: (array) => enableIfRoom(ctx, array),
    onInconsistent: (array) => resyncLater(ctx, array),
  };
  return ctx;
}
