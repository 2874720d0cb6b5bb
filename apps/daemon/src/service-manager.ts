import type { Sys } from '@raidkit/sys';

/** Address of a service manager, and its watchdog interval. */
export interface ServiceManagerPlace {
  /** Path of a Unix datagram socket; the first character NUL for an abstract name. */
  readonly socket: string;
  /** Milliseconds within which it expects a keep-alive message; 0 for none. */
  readonly watchdogMs: number;
}

/**
 * Reads the service manager's address from the environment (sd_notify(3), sd_watchdog_enabled(3)); null if there is none. The
 * variables are removed, so that child processes do not send messages for the daemon.
 */
export function takeServiceManager(env: NodeJS.ProcessEnv): ServiceManagerPlace | null {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
  delete env.NOTIFY_SOCKET;
  delete env.WATCHDOG_USEC;
  delete env.WATCHDOG_PID;
  if (socket === undefined || !/^[/@]./.test(socket)) return null;
  const isForUs = pid === undefined || Number(pid) === process.pid;
  const wanted = isForUs ? Number(microseconds ?? 0) / 1000 : 0;
  return { socket: socket.replace(/^@/, '\0'), watchdogMs: Number.isFinite(wanted) && wanted > 0 ? wanted : 0 };
}

/** Tells the service manager the daemon's state. It never waits, and failures are only logged. */
export class ServiceManager {
  readonly #place: ServiceManagerPlace;
  readonly #sys: Sys;
  readonly #onFailure: (errno: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #hasFailed = false;

  /** Calls `onFailure` once if a message cannot be sent, with an errno. */
  constructor(place: ServiceManagerPlace, sys: Sys, onFailure: (errno: number) => void) {
    this.#place = place;
    this.#sys = sys;
    this.#onFailure = onFailure;
  }

  /** Reports that the daemon is ready. From now on keep-alive messages are sent as long as `isAlive` returns true. */
  ready(status: string, isAlive: () => boolean): void {
    this.#send(`READY=1\nSTATUS=${status}`);
    const { watchdogMs } = this.#place;
    if (watchdogMs === 0) return;
    this.#timer = setInterval(() => {
      if (isAlive()) this.#send('WATCHDOG=1');
    }, watchdogMs / 2);
    this.#timer.unref();
  }

  /** Reports that the daemon is stopping. The manager's own time limit for a stop begins here. */
  stopping(): void {
    this.#send('STOPPING=1');
  }

  #send(text: string): void {
    const result = this.#sys.sockets.sendDatagram(this.#place.socket, Buffer.from(text));
    if (result >= 0 || this.#hasFailed) return;
    this.#hasFailed = true;
    this.#onFailure(-result);
  }
}
