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

/** What a service is made from: everything of the daemon but its control sockets. */
export interface ServiceOptions {
  nbd: readonly NbdAddress[];
  /** Export every volume that comes online under its name. Default true. */
  autoExport?: boolean;
  /** Packages of RAID levels. */
  levels: readonly string[];
  /** Whose `node_modules` has the packages that the daemon does not bring along. Default: there are none. */
  levelFolder?: string;
  /** Conditions under which levels' exports are looked up, besides `node` and `import`. */
  conditions?: readonly string[];
  /** How often it is told again that an array is degraded, in milliseconds; 0 for never. Default: a day. */
  remindMs?: number;
  /** Bytes of checksums in memory at most, and never more than a quarter of the buffer memory. Default: what core says. */
  checksumCacheBytes?: number;
}

/** The thread that a service lives in. */
export interface ServiceThread {
  runtime: Runtime;
  log: Logger;
  /** Makes the NBD server. Default: one over Node's sockets. */
  newServer?: (registry: BdevRegistry) => NbdServer;
  /** Its place among several. Default: it is the only one. */
  place?: { index: number; count: number; share: SharedState };
  /** How busy the thread is. Default: what Node says of its event loop. */
  load?: () => Load;
  /** Told of what happens to arrays. Default: none. */
  onEvent?: (report: EventReport) => void;
}

/** A service that can be called, has made no devices yet, and is in the startup state. */
export interface ComposedPlane {
  readonly service: Service;
  /** Resolves when a client asked for a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and ends NBD connections, flushes and closes arrays and devices. */
  stop(): Promise<void>;
}

const dayMs = 24 * 3600 * 1000;

function loadOfEventLoop(): Load {
  const { active, idle } = performance.eventLoopUtilization();
  return { awakeMs: active, asleepMs: idle };
}

/** Composes everything and serves NBD. Rejects, with nothing left open, if any of it cannot be had. */
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
    ...(place === undefined ? {} : { census: place.share }),
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
  // A client that is told that an array is there finds it exported.
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
  // What was a member of the array may be on its own now.
  arrays.on((event) => {
    if (event.type === 'arrayRemoved') exports.reconsider();
  });

  const watch = thread.onEvent === undefined ? null : new ArrayWatch(arrays, thread.onEvent, options.remindMs ?? dayMs);

  const stop = async (): Promise<void> => {
    // That everything ends now is no event.
    watch?.end();
    // I/O that a rate limit holds back is not held any more.
    for (const bdev of registry.list()) bdev.rateLimits = noRateLimits;
    // The kernel lets go of what it has before its server does.
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
