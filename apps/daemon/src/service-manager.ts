import type { Sys } from '@raidkit/sys';

/** Where a service manager listens, and how often it wants to hear from us. */
export interface ServiceManagerPlace {
  /** Path of a Unix datagram socket; the first character NUL for an abstract name. */
  readonly socket: string;
  /** Milliseconds within which it wants a sign of life; 0 for none. */
  readonly watchdogMs: number;
}

/**
 * What the environment says of the service manager (sd_notify(3), sd_watchdog_enabled(3)); null if there is none. The variables
 * are taken out, so that programs started from here do not speak for the daemon.
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

/** Tells the service manager how the daemon is. Nothing is waited for, and failures are for the log alone. */
export class ServiceManager {
  readonly #place: ServiceManagerPlace;
  readonly #sys: Sys;
  readonly #onFailure: (errno: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #hasFailed = false;

  /** `onFailure` is called once, with an errno number. */
  constructor(place: ServiceManagerPlace, sys: Sys, onFailure: (errno: number) => void) {
    this.#place = place;
    this.#sys = sys;
    this.#onFailure = onFailure;
  }

  /** The daemon serves. From now on there is a sign of life as long as `isAlive` says so. */
  ready(status: string, isAlive: () => boolean): void {
    this.#send(`READY=1\nSTATUS=${status}`);
    const { watchdogMs } = this.#place;
    if (watchdogMs === 0) return;
    this.#timer = setInterval(() => {
      if (isAlive()) this.#send('WATCHDOG=1');
    }, watchdogMs / 2);
    this.#timer.unref();
  }

  /** The daemon ends in good order. A stop that hangs is for the manager's stop time limit, which begins here. */
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
