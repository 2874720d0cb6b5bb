import { freeUnixPath, readTlsCredentials } from '@raidkit/nbd';
import { loadSys, whyNoSys } from '@raidkit/sys';
import { pino } from 'pino';
import { parseCommandLine } from './cli.js';
import { startDaemon } from './daemon.js';
import type { DaemonOptions, RunningDaemon } from './daemon.js';
import { readHttpToken } from './dashboard/token.js';
import { demoAddresses, demoPlaces, demoText, makeMemberFiles, startDemo } from './demo.js';
import { startReactorDaemon } from './reactor-host.js';
import { ServiceManager, takeServiceManager } from './service-manager.js';
import { packageVersion } from './version.js';

// The portable engine's disk I/O runs on libuv's thread pool, and one stuck device must not block all its threads. The pool
// reads this variable at its first use.
process.env.UV_THREADPOOL_SIZE ??= '32';

const version = packageVersion();
const options = parseCommandLine(process.argv, version);
const log = pino({ level: options.logLevel, name: 'raidkitd' }, pino.destination({ dest: 2, sync: true }));

/** Returns the service manager; null if none started the daemon. */
function serviceManager(): ServiceManager | null {
  const place = takeServiceManager(process.env);
  if (place === null) return null;
  const sys = loadSys();
  const failed = (reason: string): void =>
    log.error({ reason }, 'the state of the daemon cannot be reported to the service manager');
  if (sys === null) {
    failed(`there are no system calls: ${whyNoSys()}`);
    return null;
  }
  return new ServiceManager(place, sys, (errno) => failed(`NOTIFY_SOCKET: errno ${errno}`));
}

async function main(): Promise<void> {
  const manager = serviceManager();
  const signals = watchSignals(manager);
  const demo = options.demo === undefined ? null : demoPlaces(options.demo);
  if (demo !== null) makeMemberFiles(demo);
  const { tls } = options;
  const nbd = demo === null ? options.nbd : demoAddresses(demo);
  const rpc = demo === null ? options.rpc : [{ path: demo.rpc }];
  // Done before anything is set up: most second daemons are started by mistake.
  for (const address of rpc) if ('path' in address) await freeUnixPath(address.path);
  const { daemon, engine } = await start({
    rpc,
    readOnlyRpc: options.readOnlyRpc,
    ...(options.socketGroup === undefined ? {} : { socketGroup: options.socketGroup }),
    ...(options.socketMode === undefined ? {} : { socketMode: options.socketMode }),
    nbd,
    ...(options.configPath === undefined ? {} : { configPath: options.configPath }),
    ...(options.statePath === undefined ? {} : { statePath: options.statePath }),
    ...(options.scan === undefined ? {} : { scan: options.scan }),
    abort: signals.abort,
    allow: options.allow,
    isStrict: options.isStrict,
    waitForRpc: options.waitForRpc,
    autoExport: options.autoExport,
    levels: options.levels,
    ...(options.levelFolder === undefined ? {} : { levelFolder: options.levelFolder }),
    sinks: options.sinks,
    http: options.http,
    httpNames: options.httpNames,
    ...(options.httpToken === undefined ? {} : { httpToken: options.httpToken }),
    ...(options.schedule === undefined ? {} : { schedule: options.schedule }),
    remindMs: options.remindMs,
    diskHealthMs: options.diskHealthMs,
    memoryBytes: options.memoryBytes,
    checksumCacheBytes: options.checksumCacheBytes,
    nbdLimits: options.nbdLimits,
    ...(tls === undefined ? {} : { tls: { isRequired: tls.isRequired, credentials: readTlsCredentials(tls.files) } }),
    log,
  });
  signals.serve(daemon);
  const text = demo === null ? '' : demoText(demo, await startDemo(daemon.caller, demo));
  log.info(
    { version, engine, reactors: options.reactors, rpc: daemon.rpcAddresses, nbd, http: daemon.httpAddresses },
    'raidkitd is ready',
  );
  process.stdout.write(text);
  manager?.ready(`serving, ${daemon.rpcAddresses.join(', ')}`, () => !isStuck());
}

/** Whether the data path's thread is stuck: `process.exit` would then wait for it for ever. */
let isStuck = (): boolean => false;

function endByForce(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** Starts the daemon with the requested engine. */
async function start(daemonOptions: DaemonOptions): Promise<{ daemon: RunningDaemon; engine: string }> {
  const { reactors } = options;
  if (options.engine !== 'portable') {
    const { spinMicroseconds, stuckAfterSeconds, giveUpAfterSeconds } = options;
    const reactorOptions = { reactors, spinMicroseconds, stuckAfterSeconds, giveUpAfterSeconds, onGivenUp: endByForce };
    const daemon = await startReactorDaemon({ ...daemonOptions, ...reactorOptions }, (error) => {
      log.fatal({ err: error }, 'the data path has ended: exiting');
      process.exit(1);
    });
    if (typeof daemon !== 'string') {
      isStuck = () => daemon.isStuck;
      return { daemon, engine: 'uring' };
    }
    if (options.engine === 'uring' || reactors > 1)
      throw new Error(`io_uring is not available${reactors > 1 ? `, which --reactors ${reactors} needs` : ''}: ${daemon}`);
    log.warn({ reason: daemon }, 'io_uring is not available: the portable engine is used');
  }
  if (reactors > 1) throw new Error(`--reactors ${reactors} needs io_uring: the portable engine has one thread`);
  return { daemon: await startDaemon(daemonOptions), engine: 'portable' };
}

/**
 * Handles signals. The first SIGINT or SIGTERM stops in an orderly way, even while the daemon is starting; the second ends the
 * process at once. SIGHUP scans for new devices and reads certificates, keys and the HTTP token again.
 */
function watchSignals(manager: ServiceManager | null): { abort: AbortSignal; serve(daemon: RunningDaemon): void } {
  const starting = new AbortController();
  let running: RunningDaemon | null = null;
  let isStopping = false;
  const stop = (why: string): void => {
    if (isStopping) {
      log.warn({}, `${why} again: exiting at once`);
      if (isStuck()) endByForce();
      process.exit(1);
    }
    isStopping = true;
    log.info({}, `${why}: stopping`);
    manager?.stopping();
    if (running === null) starting.abort(new StoppedError());
    else end(running);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop(signal));
  process.on('SIGHUP', () => {
    log.info({}, 'SIGHUP: scanning for new devices');
    running?.reload();
    if (running !== null) renewTls(running);
    renewToken();
  });
  return {
    abort: starting.signal,
    serve(daemon) {
      running = daemon;
      if (isStopping) end(daemon);
      void daemon.stopRequested.then(() => setImmediate(() => stop('spdk_kill_instance')));
    },
  };
}

/** Reads the TLS credentials again. They stay as they are if the files cannot be read or do not match. */
function renewTls(daemon: RunningDaemon): void {
  if (options.tls === undefined) return;
  try {
    daemon.renewTls(readTlsCredentials(options.tls.files));
    log.info({}, 'the certificates and keys for new NBD clients have been read again');
  } catch (error) {
    log.error({ err: error }, 'the certificates and keys for NBD clients cannot be read: the previous ones stay in use');
  }
}

/** Reads the HTTP token again. It stays as it is if the file cannot be read. */
function renewToken(): void {
  const { httpToken, httpTokenFile } = options;
  if (httpToken === undefined || httpTokenFile === undefined) return;
  try {
    httpToken.renew(readHttpToken(httpTokenFile));
    log.info({}, 'the token for HTTP has been read again');
  } catch (error) {
    log.error({ err: error }, 'the token for HTTP cannot be read: the previous one stays in use');
  }
}

/** A signal arrived before the daemon was up. */
class StoppedError extends Error {}

function end(daemon: RunningDaemon): void {
  daemon.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      log.error({ err: error }, 'the stop was not clean');
      process.exit(1);
    },
  );
}

main().catch((error: unknown) => {
  if (error instanceof StoppedError) process.exit(0);
  const message = `raidkitd cannot start: ${error instanceof Error ? error.message : String(error)}`;
  if (process.stderr.isTTY) process.stderr.write(`${message}\n`);
  else log.fatal({ err: error }, message);
  process.exit(1);
});
