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

/** What NBD clients may have in flight, each and together. What is left out has the server's defaults. */
export type NbdLimits = Pick<
  NbdServerOptions,
  | 'maxConnections'
  | 'maxConnectionsPerPeer'
  | 'idleTimeoutMs'
  | 'maxRequestsPerConnection'
  | 'maxBytesPerConnection'
  | 'maxBytes'
>;

/** Patterns of devices that may be opened, and uuids of arrays that may run; each null for all. */
export interface AllowOptions {
  devices: readonly string[] | null;
  arrays: readonly string[] | null;
}

/** TLS for NBD clients. */
export type NbdTls = NonNullable<NbdServerOptions['tls']>;

/** What a daemon is started with. */
export interface DaemonOptions extends ServiceOptions {
  rpc: readonly RpcAddress[];
  /** Unix sockets at which only what changes nothing is answered. Default: none. */
  readOnlyRpc?: readonly string[];
  /** A group, by id, whose members may connect to the Unix sockets. Default: only this process's own user. */
  socketGroup?: number;
  /** Who may connect to the Unix sockets. Default: 0o660 with a group, 0o600 without. */
  socketMode?: SocketMode;
  /** A configuration file in SPDK's form, replayed at start. */
  configPath?: string;
  /** Where what is set up by calls is kept, for the next start. Default: nowhere. */
  statePath?: string;
  /** Devices among which members of arrays are looked for, and which arrays start by themselves. Default: none. */
  scan?: ScanOptions;
  /** Where events are sent. Default: nowhere. */
  sinks?: SinkOptions;
  /** When arrays are checked. Default: on request only. */
  schedule?: ScheduleOptions;
  /** How often disks are asked how they are (smartctl), in milliseconds; 0, the default, for never. */
  diskHealthMs?: number;
  /** Where the dashboard, metrics and health are served over HTTP. Default: nowhere. */
  http?: readonly HttpAddress[];
  /** The token that a request over HTTP must have to change something. Default: no request can. */
  httpToken?: HttpToken;
  /** Names under which browsers may know the daemon, besides addresses and `localhost`. */
  httpNames?: readonly string[];
  /** What may be opened and run, besides what the configuration says of that. Default: everything. */
  allow?: AllowOptions;
  /** Ends the start, with an error: nothing is left open. */
  abort?: AbortSignal;
  /** A call of the configuration that fails ends the start. Default false: it is kept, and tried again. */
  isStrict?: boolean;
  /** Stay in the startup state until `framework_start_init` is called. Default false. */
  waitForRpc?: boolean;
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
  /** Addresses of HTTP, with the ports that they have got. */
  readonly httpAddresses: readonly string[];
  /** Resolves when a client asked for a stop. */
  readonly stopRequested: Promise<void>;
  /** Drains and ends NBD connections, flushes and closes arrays and devices, closes the control sockets. */
  stop(): Promise<void>;
  /** Looks for devices that have come, and tries again what has failed, without waiting for the next poll. */
  reload(): void;
  /** NBD clients that begin TLS from now on are given these; those that are there go on. */
  renewTls(credentials: TlsCredentials): void;
}

/** A daemon in this thread. */
export interface Daemon extends RunningDaemon {
  readonly service: Service;
}

/** Composes everything in this thread and starts serving. Rejects, with nothing left open, if any of it cannot be had. */
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

/** What is served, and the settings of how. */
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
 * Opens the control sockets before a service, or before the router of several, and replays the configuration. Rejects, with nothing
 * left open and the service stopped, if a socket cannot be had, the configuration cannot be read, or it is strict and a call fails.
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
    // The end does not wait for the sinks of events.
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
      (error: unknown) => log.debug({ err: error }, 'it is not told when the daemon is up'),
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

/** A file of its own beside the state file; null without one. */
function besideState(statePath: string | undefined, what: string): string | null {
  return statePath === undefined ? null : `${statePath.replace(/\.json$/, '')}-${what}.json`;
}

async function narrow(caller: Caller, { arrays = null, devices = null }: Partial<AllowOptions> = {}): Promise<void> {
  if (arrays === null && devices === null) return;
  await caller.call('raidkit_allow', { ...(devices === null ? {} : { devices }), ...(arrays === null ? {} : { arrays }) });
}

/** Resolves and rejects as `work` does, or rejects when the signal comes first. */
async function untilAborted(work: Promise<void>, abort: AbortSignal | undefined): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    abort?.addEventListener('abort', () => reject(abort.reason as Error), { once: true });
  });
  await Promise.race([work, aborted]);
}

/** Lets those connect to the Unix sockets, all of which listen, that the options name. */
function openSockets(options: ControlOptions): void {
  const { log, socketGroup: group, socketMode: mode = group === undefined ? 0o600 : 0o660 } = options;
  if (mode === 0o600) return;
  const paths = unixPaths(options);
  for (const path of paths) openSocket(path, mode, group);
  if (mode === 0o666)
    log.warn(
      { paths },
      'the Unix sockets are open to every user of this machine: each can do everything, and use every export',
    );
}

/** Where a daemon with these options listens in the file system. */
function unixPaths({ http = [], nbd, readOnlyRpc = [], rpc }: ControlOptions): string[] {
  return [
    ...rpc.flatMap((address) => ('path' in address ? [address.path] : [])),
    ...readOnlyRpc,
    ...[...http, ...nbd].flatMap((address) => ('unix' in address ? [address.unix] : [])),
  ];
}
