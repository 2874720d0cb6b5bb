import { BdevRegistry, noRateLimits } from '@raidkit/bdev';
import type { Runtime } from '@raidkit/bdev';
import { RaidArrays } from '@raidkit/core';
import type { NbdServer } from '@raidkit/nbd';
import { findSignature } from '@raidkit/signatures';
import { spdkSuperblockStore } from '@raidkit/superblock';
import type { Logger } from 'pino';
import { AllowedArrays, AllowedDevices } from './allow-list.js';
import { deferred } from './deferred.js';
import { ArrayWatch } from './events/array-watch.js';
import type { EventReport } from './events/event.js';
import { ExaminePolicy } from './examine-policy.js';
import { Exports } from './exports.js';
import { KernelAttachments } from './kernel-attachments.js';
import type { NbdAddress } from './exports.js';
import { loadLevels } from './level-modules.js';
import { aioMethods } from './methods/aio.js';
import { bdevMethods } from './methods/bdev.js';
import { frameworkMethods } from './methods/framework.js';
import { histogramMethods } from './methods/histogram.js';
import { latencyMethods } from './methods/latency.js';
import { logMethods } from './methods/log.js';
import { mallocMethods } from './methods/malloc.js';
import { nbdMethods } from './methods/nbd.js';
import { notifyMethods } from './methods/notify.js';
import { qosMethods } from './methods/qos.js';
import { raidMethods } from './methods/raid.js';
import { raidkitMethods } from './methods/raidkit.js';
import { stackedMethods } from './methods/stacked.js';
import { reactorMethods } from './methods/reactors.js';
import type { Load, Service } from './service.js';
import type { SharedState } from './shared-state.js';
import { Dispatcher } from './rpc/dispatcher.js';
import type { RpcMethod } from './rpc/dispatcher.js';
import { RpcCode, RpcError } from './rpc/errors.js';
import { OwnNames } from './shared-names.js';
import { SharedRegistry } from './shared-registry.js';
import { memberFinder } from './volume-members.js';

/** Options of a service: everything in the daemon except its control sockets. */
export interface ServiceOptions {
  nbd: readonly NbdAddress[];
  /** Whether every volume that comes online is exported under its name. Default true. */
  autoExport?: boolean;
  /** Names of the packages with RAID levels. */
  levels: readonly string[];
  /** Folder whose `node_modules` has the packages that the daemon does not include. Default: none. */
  levelFolder?: string;
  /** Further export conditions for looking up level packages, besides `node` and `import`. */
  conditions?: readonly string[];
  /** Milliseconds between reminders that an array is degraded; 0 for never. Default: a day. */
  remindMs?: number;
  /** Memory for checksums in bytes; at most a quarter of the buffer memory is used. Default: core's. */
  checksumCacheBytes?: number;
}

/** The environment of a service: the thread it runs in. */
export interface ServiceThread {
  runtime: Runtime;
  log: Logger;
  /** Makes the NBD server. Default: one over Node's sockets. */
  newServer?: (registry: BdevRegistry) => NbdServer;
  /** Its index among several reactors. Default: it is the only one. */
  place?: { index: number; count: number; share: SharedState };
  /** Returns how busy the thread is. Default: measured by Node's event loop. */
  load?: () => Load;
  /** Called with events of arrays. Default: none. */
  onEvent?: (report: EventReport) => void;
}

/** A service in the startup state that accepts calls and has no devices yet. */
export interface ComposedPlane {
  readonly service: Service;
  /** Resolves when a client requests a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and closes NBD connections, flushes and closes arrays and devices. */
  stop(): Promise<void>;
}

const dayMs = 24 * 3600 * 1000;

function loadOfEventLoop(): Load {
  const { active, idle } = performance.eventLoopUtilization();
  return { awakeMs: active, asleepMs: idle };
}

/** Composes a service and serves NBD. If any part fails, rejects with nothing left open. */
export async function composeService(options: ServiceOptions, thread: ServiceThread): Promise<ComposedPlane> {
  const { log, runtime, newServer, place } = thread;
  const modules = await loadLevels(options.levels, options.levelFolder, options.conditions);
  const registry = place === undefined ? new BdevRegistry(runtime) : new SharedRegistry(runtime, place.share.names);
  place?.share.watch(registry);
  const examining = new ExaminePolicy();
  const allowedArrays = new AllowedArrays();
  const arrays = new RaidArrays({
    mayExamine: (bdev) => examining.mayExamine(bdev),
    mayAssemble: (uuid) => allowedArrays.allows(uuid),
    holdsData: (bdev) => examining.holdsData(bdev),
    registry,
    modules,
    store: spdkSuperblockStore,
    findSignature,
    assembly: { degradedStartMs: 30_000 },
    ...(options.checksumCacheBytes === undefined ? {} : { checksumCacheBytes: options.checksumCacheBytes }),
    ...(place === undefined ? {} : { arrayNames: place.share }),
  });
  const dispatcher = new Dispatcher(log);
  const exports = new Exports(registry, log, newServer?.(registry), place?.share);
  const names = place?.share.names ?? new OwnNames();
  const attachments = new KernelAttachments(registry, exports, names, log);
  const init = deferred();
  const stopRequested = deferred();

  const service: Service = {
    registry,
    arrays,
    modules,
    exports,
    dispatcher,
    examining,
    allowedArrays,
    allowedDevices: new AllowedDevices(),
    log,
    reactor: { index: place?.index ?? 0, count: place?.count ?? 1 },
    names,
    attachments,
    load: thread.load ?? loadOfEventLoop,
    startInit() {
      if (dispatcher.state === 'runtime') throw new RpcError(RpcCode.InvalidState, 'the framework is initialized already');
      dispatcher.state = 'runtime';
      init.resolve();
    },
    waitInit: () => init.promise,
    requestStop: stopRequested.resolve,
  };
  // A client that learns that an array exists must find it exported.
  const whenExported = (entry: RpcMethod): RpcMethod => ({
    ...entry,
    async run(params) {
      const result = await entry.run(params);
      await exports.settled();
      return result;
    },
  });
  const devices = [
    ...bdevMethods(service),
    ...histogramMethods(service),
    ...latencyMethods(service),
    ...notifyMethods(service),
    ...qosMethods(service),
    ...raidMethods(service),
    ...mallocMethods(service),
    ...aioMethods(service),
    ...stackedMethods(service),
    ...raidkitMethods(service),
  ];
  dispatcher.register([
    ...frameworkMethods(service),
    ...logMethods(log),
    ...devices.map(whenExported),
    ...nbdMethods(service),
    ...reactorMethods(service),
  ]);
  if (options.autoExport !== false) exports.exportVolumes(memberFinder(registry, arrays, spdkSuperblockStore, examining));
  // A former member may now be a volume of its own.
  arrays.on((event) => {
    if (event.type === 'arrayRemoved') exports.reconsider();
  });

  const watch = thread.onEvent === undefined ? null : new ArrayWatch(arrays, thread.onEvent, options.remindMs ?? dayMs);

  const stop = async (): Promise<void> => {
    // The shutdown must not cause events.
    watch?.end();
    // Rate limits must not hold I/O back any more.
    for (const bdev of registry.list()) bdev.rateLimits = noRateLimits;
    // The kernel's NBD client is detached before its server closes.
    await attachments.end();
    await exports.close();
    await arrays.stop();
    for (const bdev of registry.list().reverse()) {
      if (bdev.state === 'registered') await registry.unregister(bdev);
    }
  };
  try {
    for (const address of options.nbd) await exports.listen(address);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    service,
    stopRequested: stopRequested.promise,
    stop,
  };
}
