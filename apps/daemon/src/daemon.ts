import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { RaidArrays } from '@raidkit/core';
import { spdkSuperblockStore } from '@raidkit/superblock';
import type { Logger } from 'pino';
import { readConfig, replayConfig } from './config.js';
import type { Config } from './config.js';
import { Exports } from './exports.js';
import type { NbdAddress } from './exports.js';
import { loadLevels } from './level-modules.js';
import { aioMethods } from './methods/aio.js';
import { bdevMethods } from './methods/bdev.js';
import { frameworkMethods } from './methods/framework.js';
import { logMethods } from './methods/log.js';
import { mallocMethods } from './methods/malloc.js';
import { nbdMethods } from './methods/nbd.js';
import { raidMethods } from './methods/raid.js';
import { raidkitMethods } from './methods/raidkit.js';
import { stackedMethods } from './methods/stacked.js';
import type { Plane } from './plane.js';
import { Dispatcher } from './rpc/dispatcher.js';
import { RpcCode, RpcError } from './rpc/errors.js';
import { listenRpc } from './rpc/listen.js';
import type { RpcAddress, RpcListener } from './rpc/listen.js';

/** What a daemon is started with. */
export interface DaemonOptions {
  rpc: readonly RpcAddress[];
  nbd: readonly NbdAddress[];
  /** A configuration file in SPDK's form, replayed at start. */
  configPath?: string;
  /** Stay in the startup state until `framework_start_init` is called. Default false. */
  waitForRpc?: boolean;
  /** Export every volume that comes online under its name. Default true. */
  autoExport?: boolean;
  /** Packages of RAID levels. */
  levels: readonly string[];
  /** Where packages are looked for that the daemon does not bring along. */
  folder: string;
  /** Conditions under which levels' exports are looked up, besides `node` and `import`. */
  conditions?: readonly string[];
  /** Size of the buffer memory, in bytes. */
  memoryBytes: number;
  log: Logger;
}

/** A daemon that is up. */
export interface Daemon {
  readonly plane: Plane;
  /** Addresses of the control sockets. */
  readonly rpcAddresses: readonly string[];
  /** Resolves when a client asked for a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and ends NBD connections, flushes and closes arrays and devices, closes the control sockets. */
  stop(): Promise<void>;
}

/** Composes everything and starts serving. Rejects, with nothing left open, if any of it cannot be had. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { log } = options;
  const config: Config = options.configPath === undefined ? { subsystems: [] } : readConfig(options.configPath);
  const modules = await loadLevels(options.levels, options.folder, options.conditions);
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes: options.memoryBytes, log }));
  const arrays = new RaidArrays({ registry, modules, store: spdkSuperblockStore });
  const dispatcher = new Dispatcher(log);
  const exports = new Exports(registry, log);
  const init = deferred();
  const stopRequested = deferred();
  const replay = (): Promise<void> =>
    replayConfig(config, dispatcher, (what) => log.info({ call: what }, 'a call of the configuration is not for this daemon'));

  const plane: Plane = {
    registry,
    arrays,
    modules,
    exports,
    dispatcher,
    log,
    async startInit() {
      if (dispatcher.state === 'runtime') throw new RpcError(RpcCode.InvalidState, 'the framework is initialized already');
      dispatcher.state = 'runtime';
      await replay();
      init.resolve();
    },
    waitInit: () => init.promise,
    requestStop: stopRequested.resolve,
  };
  dispatcher.register([
    ...frameworkMethods(plane),
    ...logMethods(log),
    ...bdevMethods(plane),
    ...raidMethods(plane),
    ...mallocMethods(plane),
    ...aioMethods(plane),
    ...stackedMethods(plane),
    ...nbdMethods(plane),
    ...raidkitMethods(plane),
  ]);
  if (options.autoExport !== false) exports.exportVolumes();

  const listeners: RpcListener[] = [];
  const stop = async (): Promise<void> => {
    await exports.close();
    await arrays.stop();
    for (const bdev of registry.list().reverse()) {
      if (bdev.state === 'registered') await registry.unregister(bdev);
    }
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  try {
    for (const address of options.nbd) await exports.listen(address);
    for (const address of options.rpc) listeners.push(await listenRpc(address, dispatcher, log));
    await replay();
    if (options.waitForRpc !== true) await plane.startInit();
  } catch (error) {
    await stop();
    throw error;
  }
  const rpcAddresses = listeners.map(({ address }) => address);
  return { plane, rpcAddresses, stopRequested: stopRequested.promise, stop };
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
