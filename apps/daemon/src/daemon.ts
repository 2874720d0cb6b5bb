import type { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { NbdServer } from '@raidkit/nbd';
import type { NbdServerOptions } from '@raidkit/nbd';
import type { Logger } from 'pino';
import { composeService } from './compose.js';
import type { ServiceOptions } from './compose.js';
import type { Service } from './service.js';
import type { Caller } from './rpc/dispatcher.js';
import { listenRpc } from './rpc/listen.js';
import type { RpcAddress, RpcListener } from './rpc/listen.js';

/** What NBD clients may have in flight, each and together. What is left out has the server's defaults. */
export type NbdLimits = Pick<
  NbdServerOptions,
  'maxConnections' | 'maxRequestsPerConnection' | 'maxBytesPerConnection' | 'maxBytes'
>;

/** TLS for NBD clients. */
export type NbdTls = NonNullable<NbdServerOptions['tls']>;

/** What a daemon is started with. */
export interface DaemonOptions extends ServiceOptions {
  rpc: readonly RpcAddress[];
  /** Size of the buffer memory, in bytes. */
  memoryBytes: number;
  /** Default: the server's. */
  nbdLimits?: NbdLimits;
  /** Default: none. */
  tls?: NbdTls;
  log: Logger;
}

/** A daemon that is up, wherever its service lives. */
export interface RunningDaemon {
  /** Answers as the control sockets do. */
  readonly caller: Caller;
  /** Addresses of the control sockets. */
  readonly rpcAddresses: readonly string[];
  /** Resolves when a client asked for a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and ends NBD connections, flushes and closes arrays and devices, closes the control sockets. */
  stop(): Promise<void>;
}

/** A daemon in this thread. */
export interface Daemon extends RunningDaemon {
  readonly service: Service;
}

/** Composes everything in this thread and starts serving. Rejects, with nothing left open, if any of it cannot be had. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { log, memoryBytes, nbdLimits, tls } = options;
  const withTls = tls === undefined ? {} : { tls };
  const newServer = (registry: BdevRegistry): NbdServer => new NbdServer({ registry, ...nbdLimits, ...withTls });
  const composed = await composeService(options, { runtime: nodeRuntime({ memoryBytes, log }), log, newServer });
  const { service } = composed;
  const running = await serveControl(options, service.dispatcher, composed);
  return { service, ...running };
}

/** Opens the control sockets for a service and has it begin. Rejects, with nothing left open and the service stopped, if that fails. */
export async function serveControl(
  { rpc, log }: Pick<DaemonOptions, 'rpc' | 'log'>,
  caller: Caller,
  service: { stopRequested: Promise<void>; begin(): Promise<void>; stop(): Promise<void> },
): Promise<RunningDaemon> {
  const listeners: RpcListener[] = [];
  const stop = async (): Promise<void> => {
    await service.stop();
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  try {
    for (const address of rpc) listeners.push(await listenRpc(address, caller, log));
    await service.begin();
  } catch (error) {
    await stop();
    throw error;
  }
  return { caller, rpcAddresses: listeners.map(({ address }) => address), stopRequested: service.stopRequested, stop };
}
