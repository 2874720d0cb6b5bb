import type { TlsCredentials } from '@raidkit/nbd';
import type { Logger } from 'pino';
import { serveControl } from './daemon.js';
import type { DaemonOptions, RunningDaemon } from './daemon.js';
import { EventLog } from './events/event-log.js';
import type { EventReport } from './events/event.js';
import { Notifications } from './notifications.js';
import { newSharedNames } from './shared-names.js';
import type { ReactorData } from './reactor-messages.js';
import { ReactorThread } from './reactor-thread.js';
import type { WatchdogTimes, ReactorThreadEvents } from './reactor-thread.js';
import { Directory } from './router/directory.js';
import { ExportNews } from './router/export-news.js';
import { Router } from './router/router.js';

/** Options of a daemon with reactors. */
export interface ReactorDaemonOptions extends DaemonOptions {
  /** Number of reactors that share the volumes. */
  reactors: number;
  /** Microseconds for which a reactor polls for completions before it sleeps. */
  spinMicroseconds: number;
  /** Seconds after which a data path that does not respond counts as stuck, and control calls are refused; at least 2. */
  stuckAfterSeconds: number;
  /** Seconds after which `onGivenUp` is called; 0 for never. */
  giveUpAfterSeconds: number;
  /** Called when a data path has been stuck for that long. Only SIGKILL ends a process with a stuck thread. */
  onGivenUp: () => void;
}

/** A daemon whose services run in reactors' threads. */
export interface ReactorDaemon extends RunningDaemon {
  /** Whether a data path is stuck, so that the daemon cannot be stopped either. */
  readonly isStuck: boolean;
}

/**
 * Starts a daemon with each of its services in its own thread, around an io_uring; the control sockets are served by this
 * thread. Returns a string that says why reactors are not available; rejects if the daemon cannot start for another reason.
 * `onLost` is called if a thread ends by itself later: its data path is gone.
 */
export async function startReactorDaemon(
  options: ReactorDaemonOptions,
  onLost: (error: Error) => void,
): Promise<ReactorDaemon | string> {
  return options.reactors === 1 ? startOne(options, onLost) : startSeveral(options, onLost);
}

/** Starts a single reactor, which calls go to directly. */
async function startOne(options: ReactorDaemonOptions, onLost: (error: Error) => void): Promise<ReactorDaemon | string> {
  const events = new EventLog(options.log);
  const onEvent = (report: EventReport): void => void events.add(report);
  const news = new DeviceNewsRelay(options.log);
  const onDevices = (): void => news.spread();
  const thread = startThread(options, null, { onLost, onGivenUp: options.onGivenUp, onEvent, onDevices });
  const unavailable = await thread.composed;
  if (unavailable !== '') return unavailable;
  const running = await serveControl(options, thread, thread, events);
  news.begin([thread], running);
  return withStuck(running, [thread]);
}

/** Starts several reactors behind the router. */
async function startSeveral(options: ReactorDaemonOptions, onLost: (error: Error) => void): Promise<ReactorDaemon | string> {
  const { log } = options;
  const told = new EventLog(log);
  const directory = new Directory();
  const notifications = new Notifications();
  const names = newSharedNames();
  const threads: ReactorThread[] = [];
  const devices = new DeviceNewsRelay(log);
  const news = new ExportNews(threads, directory);
  for (let index = 0; index < options.reactors; index++) {
    const events: ReactorThreadEvents = {
      onLost,
      onGivenUp: options.onGivenUp,
      onEvent: (report) => void told.add(report),
      onChange(change) {
        directory.change(index, change);
        if (change.of === 'bdev') notifications.add(change.is === 'there' ? 'bdev_register' : 'bdev_unregister', change.name);
        if (change.of === 'export') news.spread(index);
      },
      onDevices: () => devices.spread(),
      onClient: (connection) => threads[directory.find('export', connection.exportName) ?? index]?.giveClient(connection),
    };
    threads.push(startThread(options, { index, count: options.reactors, names }, events));
  }
  const stop = async (): Promise<void> => {
    const stopped = await Promise.allSettled(threads.map((thread) => thread.stop()));
    for (const one of stopped) if (one.status === 'rejected') throw one.reason;
  };
  const renewTls = (credentials: TlsCredentials): void => {
    for (const thread of threads) thread.renewTls(credentials);
  };
  const composed = await Promise.allSettled(threads.map((thread) => thread.composed));
  const failed = composed.find((one) => one.status === 'rejected');
  const unavailable = composed.map((one) => (one.status === 'fulfilled' ? one.value : '')).find((reason) => reason !== '');
  if (failed !== undefined || unavailable !== undefined) {
    // A thread that could not be composed has nothing to stop.
    await Promise.allSettled(
      threads.filter((_, index) => composed[index]?.status === 'fulfilled').map((thread) => thread.stop()),
    );
    if (failed !== undefined) throw failed.reason;
    return unavailable ?? '';
  }
  const { addresses = [] } = threads[0] ?? {};
  await Promise.all(threads.slice(1).map((thread) => thread.ask({ ask: 'listening', addresses })));
  const router = new Router(threads, directory, notifications, log);
  const stopRequested = Promise.race(threads.map((thread) => thread.stopRequested));
  const running = await serveControl(options, news.before(router), { stopRequested, stop, renewTls }, told);
  devices.begin(threads, running);
  return withStuck(running, threads);
}

/** When the kernel reports changes of devices, has the reactors check their open devices and then scans for others. */
class DeviceNewsRelay {
  readonly #log: Logger;
  #threads: readonly ReactorThread[] = [];
  #running: Pick<RunningDaemon, 'reload'> | null = null;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Starts relaying. Before that the daemon is starting and scans by itself. */
  begin(threads: readonly ReactorThread[], running: Pick<RunningDaemon, 'reload'>): void {
    this.#threads = threads;
    this.#running = running;
  }

  spread(): void {
    if (this.#running === null) return;
    const running = this.#running;
    this.#log.debug({}, 'block devices were added, removed or changed: scanning');
    // A stuck reactor does not delay the others.
    void Promise.allSettled(this.#threads.map((thread) => thread.ask({ ask: 'lookAtDevices' }))).then(() => running.reload());
  }
}

function withStuck(running: RunningDaemon, threads: readonly ReactorThread[]): ReactorDaemon {
  return {
    ...running,
    get isStuck() {
      return threads.some((thread) => thread.isStuck);
    },
  };
}

/** Starts a reactor's thread. Only the first one listens for NBD clients. */
function startThread(options: ReactorDaemonOptions, share: ReactorData['share'], events: ReactorThreadEvents): ReactorThread {
  const {
    nbd,
    autoExport,
    levels,
    levelFolder,
    conditions,
    remindMs,
    checksumCacheBytes,
    memoryBytes,
    spinMicroseconds,
    nbdLimits = {},
    tls = null,
    log,
  } = options;
  const data: Omit<ReactorData, 'beat'> = {
    service: {
      nbd: share === null || share.index === 0 ? nbd : [],
      levels,
      ...(levelFolder === undefined ? {} : { levelFolder }),
      ...(autoExport === undefined ? {} : { autoExport }),
      ...(conditions === undefined ? {} : { conditions }),
      ...(remindMs === undefined ? {} : { remindMs }),
      ...(checksumCacheBytes === undefined ? {} : { checksumCacheBytes }),
    },
    memoryBytes,
    spinMicroseconds,
    nbdLimits,
    tls,
    logLevel: log.level,
    share,
  };
  const times: WatchdogTimes = options;
  return new ReactorThread(data, times, events, log);
}
