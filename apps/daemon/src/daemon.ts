import type { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { NbdServer } from '@raidkit/nbd';
import type { NbdServerOptions, TlsCredentials } from '@raidkit/nbd';
import type { Logger } from 'pino';
import { AllowedCalls } from './allow-list.js';
import { composeService } from './compose.js';
import { Configuration } from './configuration/configuration.js';
import { readConfig } from './configuration/config-file.js';
import { StateFile } from './configuration/state-file.js';
import { DashboardSite } from './dashboard/site.js';
import type { HttpToken } from './dashboard/token.js';
import { DiskHealth } from './disk-health/disk-health.js';
import { EventLog } from './events/event-log.js';
import { eventMethods } from './events/event-methods.js';
import { EventSinks } from './events/sinks/sinks.js';
import type { SinkOptions } from './events/sinks/sinks.js';
import { LastingCounts } from './lasting/lasting-counts.js';
import { listenHttp } from './monitor/http-server.js';
import type { HttpAddress, HttpListener } from './monitor/http-server.js';
import type { ScanOptions } from './scan/scanner.js';
import type { ServiceOptions } from './compose.js';
import type { Service } from './service.js';
import type { Caller } from './rpc/dispatcher.js';
import { listenRpc } from './rpc/listen.js';
import { openSocket } from './socket-access.js';
import type { SocketMode } from './socket-access.js';
import { ReadOnlyCaller } from './rpc/read-only.js';
import { CheckSchedule, scheduleMethods } from './schedule/check-schedule.js';
import type { ScheduleOptions, ScheduledArray } from './schedule/check-schedule.js';
import type { RpcAddress, RpcListener } from './rpc/listen.js';
import { OwnCalls } from './rpc/own-calls.js';

/** Limits for NBD clients, each and together. What is left out has the server's default. */
export type NbdLimits = Pick<
  NbdServerOptions,
  | 'maxConnections'
  | 'maxConnectionsPerPeer'
  | 'idleTimeoutMs'
  | 'maxRequestsPerConnection'
  | 'maxBytesPerConnection'
  | 'maxBytes'
>;

/** Patterns of devices that may be opened, and uuids of arrays that may run; null for all. */
export interface AllowOptions {
  devices: readonly string[] | null;
  arrays: readonly string[] | null;
}

/** TLS for NBD clients. */
export type NbdTls = NonNullable<NbdServerOptions['tls']>;

/** Options of a daemon. */
export interface DaemonOptions extends ServiceOptions {
  rpc: readonly RpcAddress[];
  /** Unix sockets on which only calls that change nothing are answered. Default: none. */
  readOnlyRpc?: readonly string[];
  /** A group, by id, whose members may connect to the Unix sockets. Default: only this process's own user. */
  socketGroup?: number;
  /** Who may connect to the Unix sockets. Default: 0o660 with a group, 0o600 without. */
  socketMode?: SocketMode;
  /** Path of a configuration file in SPDK's format, replayed at start. */
  configPath?: string;
  /** Path of the file that keeps what calls have set up, for the next start. Default: none. */
  statePath?: string;
  /** Where to look for members of arrays, and which arrays start by themselves. Default: no scan. */
  scan?: ScanOptions;
  /** Where events are sent. Default: nowhere. */
  sinks?: SinkOptions;
  /** Schedule of checks. Default: on request only. */
  schedule?: ScheduleOptions;
  /** Milliseconds between two checks of the disks' health (smartctl); 0, the default, for never. */
  diskHealthMs?: number;
  /** Addresses at which the dashboard, metrics and health are served over HTTP. Default: none. */
  http?: readonly HttpAddress[];
  /** The token that an HTTP request needs to change something. Default: no request can. */
  httpToken?: HttpToken;
  /** Names under which browsers may know the daemon, besides addresses and `localhost`. */
  httpNames?: readonly string[];
  /** Which devices may be opened and which arrays may run, in addition to the configuration's limits. Default: all. */
  allow?: AllowOptions;
  /** Aborts the start, which then rejects with nothing left open. */
  abort?: AbortSignal;
  /** Whether a failed call of the configuration ends the start. Default false: it is kept and retried. */
  isStrict?: boolean;
  /** Whether to stay in the startup state until `framework_start_init` is called. Default false. */
  waitForRpc?: boolean;
  /** Size of the buffer memory, in bytes. */
  memoryBytes: number;
  /** Default: the NBD server's limits. */
  nbdLimits?: NbdLimits;
  /** TLS settings for NBD clients. Default: no TLS. */
  tls?: NbdTls;
  log: Logger;
}

/** A running daemon, in whichever threads its services are. */
export interface RunningDaemon {
  /** Answers calls like the control sockets. */
  readonly caller: Caller;
  /** Addresses of the control sockets. */
  readonly rpcAddresses: readonly string[];
  /** Addresses that HTTP is served at, with their actual ports. */
  readonly httpAddresses: readonly string[];
  /** Resolves when a client requests a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and closes NBD connections, flushes and closes arrays and devices, closes the control sockets. */
  stop(): Promise<void>;
  /** Scans for new devices and retries what failed, without waiting for the next poll. */
  reload(): void;
  /** Sets the credentials for NBD clients that begin TLS from now on; others are not affected. */
  renewTls(credentials: TlsCredentials): void;
}

/** A daemon that runs in this thread. */
export interface Daemon extends RunningDaemon {
  readonly service: Service;
}

/** Starts a daemon in this thread. If any part fails, rejects with nothing left open. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { log, memoryBytes, nbdLimits, tls } = options;
  const withTls = tls === undefined ? {} : { tls };
  const servers: NbdServer[] = [];
  const newServer = (registry: BdevRegistry): NbdServer => {
    const server = new NbdServer({ registry, ...nbdLimits, ...withTls });
    servers.push(server);
    return server;
  };
  const renewTls = (credentials: TlsCredentials): void => {
    for (const server of servers) server.renewTls(credentials);
  };
  const events = new EventLog(log);
  const runtime = nodeRuntime({ memoryBytes, log });
  const composed = await composeService(options, { runtime, log, newServer, onEvent: (report) => void events.add(report) });
  const { service } = composed;
  const running = await serveControl(options, service.dispatcher, { ...composed, renewTls }, events);
  return { service, ...running };
}

/** Options for the control sockets and everything served beside NBD. */
type ControlOptions = Pick<
  DaemonOptions,
  | 'rpc'
  | 'readOnlyRpc'
  | 'nbd'
  | 'socketGroup'
  | 'socketMode'
  | 'configPath'
  | 'statePath'
  | 'scan'
  | 'sinks'
  | 'http'
  | 'httpToken'
  | 'httpNames'
  | 'schedule'
  | 'diskHealthMs'
  | 'abort'
  | 'allow'
  | 'isStrict'
  | 'waitForRpc'
  | 'log'
> & {
  reactors?: number;
};

/**
 * Opens the control sockets in front of a service, or of the router of several, and replays the configuration. If a socket
 * cannot be opened, the configuration cannot be read, or it is strict and a call fails, rejects with nothing left open and the
 * service stopped.
 */
export async function serveControl(
  options: ControlOptions,
  inner: Caller,
  service: Pick<RunningDaemon, 'stopRequested' | 'stop' | 'renewTls'>,
  events: EventLog,
): Promise<RunningDaemon> {
  const {
    rpc,
    readOnlyRpc = [],
    configPath,
    statePath,
    scan,
    abort,
    isStrict = false,
    waitForRpc = false,
    reactors = 1,
    log,
  } = options;
  const sinks = new EventSinks(options.sinks ?? {}, log);
  events.onEvent((event) => sinks.add(event));
  const listeners: RpcListener[] = [];
  const http: HttpListener[] = [];
  let schedule: CheckSchedule | null = null;
  let site: DashboardSite | null = null;
  let isUp = false;
  let isEnding = false;
  let configuration: Configuration | null = null;
  let counts: LastingCounts | null = null;
  let health: DiskHealth | null = null;
  const stop = async (): Promise<void> => {
    configuration?.end();
    // Shutdown does not wait for event sinks.
    sinks.end();
    events.end();
    isEnding = true;
    schedule?.end();
    health?.end();
    site?.end();
    await Promise.all(http.map((listener) => listener.close()));
    await counts?.end();
    await service.stop();
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  let caller: Caller;
  let own: Configuration;
  try {
    const calls = configPath === undefined ? [] : readConfig(configPath);
    const state = statePath === undefined ? null : new StateFile(statePath);
    const allowed = new AllowedCalls(inner);
    own = configuration = new Configuration(allowed, {
      calls,
      state,
      isStrict,
      waitForRpc,
      reactors,
      scan: scan ?? null,
      mayOpen: (path) => allowed.mayOpen(path),
      log,
    });
    if (options.schedule !== undefined) {
      schedule = new CheckSchedule(own, options.schedule, besideState(statePath, 'checks'), log);
    }
    await narrow(allowed, options.allow);
    const lasting = (counts = new LastingCounts(own, besideState(statePath, 'counts'), log));
    const disks = (health = new DiskHealth(own, options.diskHealthMs ?? 0, (report) => void events.add(report), log));
    const methods = [...eventMethods(events, sinks), ...scheduleMethods(schedule), ...lasting.methods(), ...disks.methods()];
    caller = new OwnCalls(lasting, methods, log);
    for (const address of rpc) listeners.push(await listenRpc(address, caller, log));
    const reader = new ReadOnlyCaller(caller);
    for (const path of readOnlyRpc) listeners.push(await listenRpc({ path }, reader, log));
    const checks = (): ScheduledArray[] => schedule?.list() ?? [];
    const isReady = (): boolean => isUp && !isEnding;
    const names = new Set((options.httpNames ?? []).map((name) => name.toLowerCase()));
    site = new DashboardSite({ caller, events, isReady, token: options.httpToken ?? null, names, log });
    const sources = { caller, events, sinks, checks, isReady, site };
    for (const address of options.http ?? []) http.push(await listenHttp(address, sources, log));
    openSockets(options);
    if (http.length > 0) site.begin();
    abort?.throwIfAborted();
    own.call('framework_wait_init', undefined).then(
      () => {
        isUp = true;
        if (isEnding) return;
        schedule?.begin();
        lasting.begin();
        disks.begin();
      },
      (error: unknown) => log.debug({ err: error }, 'it is not notified when the daemon is ready'),
    );
    await untilAborted(own.begin(), abort);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    caller,
    httpAddresses: http.map(({ address }) => address),
    rpcAddresses: listeners.map(({ address }) => address),
    stopRequested: service.stopRequested,
    stop,
    reload: () => own.reload(),
    renewTls: (credentials) => service.renewTls(credentials),
  };
}

/** Path of another file beside the state file; null if there is no state file. */
function besideState(statePath: string | undefined, what: string): string | null {
  return statePath === undefined ? null : `${statePath.replace(/\.json$/, '')}-${what}.json`;
}

async function narrow(caller: Caller, { arrays = null, devices = null }: Partial<AllowOptions> = {}): Promise<void> {
  if (arrays === null && devices === null) return;
  await caller.call('raidkit_allow', { ...(devices === null ? {} : { devices }), ...(arrays === null ? {} : { arrays }) });
}

/** Settles like `work`, or rejects when the signal is aborted first. */
async function untilAborted(work: Promise<void>, abort: AbortSignal | undefined): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    abort?.addEventListener('abort', () => reject(abort.reason as Error), { once: true });
  });
  await Promise.race([work, aborted]);
}

/** Sets the permissions of the Unix sockets, all of which are listening by now. */
function openSockets(options: ControlOptions): void {
  const { log, socketGroup: group, socketMode: mode = group === undefined ? 0o600 : 0o660 } = options;
  if (mode === 0o600) return;
  const paths = unixPaths(options);
  for (const path of paths) openSocket(path, mode, group);
  if (mode === 0o666)
    log.warn({ paths }, 'every user of this machine can use the Unix sockets, and so can do everything and use every export');
}

/** Paths of the Unix sockets that a daemon with these options listens on. */
function unixPaths({ http = [], nbd, readOnlyRpc = [], rpc }: ControlOptions): string[] {
  return [
    ...rpc.flatMap((address) => ('path' in address ? [address.path] : [])),
    ...readOnlyRpc,
    ...[...http, ...nbd].flatMap((address) => ('unix' in address ? [address.unix] : [])),
  ];
}
