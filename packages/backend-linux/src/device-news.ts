import { constants } from 'node:os';
import type { BdevRegistry, Runtime, TimerHandle } from '@raidkit/bdev';
import { RingOp, loadSys, whyNoSys } from '@raidkit/sys';
import type { Ring, RingOwner, Sys } from '@raidkit/sys';
import { LinuxDriver } from './linux-driver.js';

/** Buffer size for one message in bytes: the kernel writes at most 2 KiB of variables, and udev little more. */
const mostBytes = 16 * 1024;
/** Least time between two notifications, in milliseconds, since there are many messages for one disk. */
const restMs = 200;
const { ENOBUFS } = constants.errno;
const receiving = 0;
const cancelling = 1;

/**
 * Listens for messages of the kernel, and of udev once it has made its links, that block devices have come, gone or changed.
 * The contents of a message are not used; it only tells when to check. Messages may be lost, so the listener must also check
 * periodically.
 */
export class DeviceNews implements RingOwner {
  readonly #ring: Ring;
  readonly #runtime: Runtime;
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #onNews: () => void;
  readonly #owner: number;
  readonly #bytes = Buffer.from(new ArrayBuffer(mostBytes));
  readonly #addr: number;
  #inFlight = 0;
  /** Runs while the next notification has to wait. */
  #rest: TimerHandle | null = null;
  #isDue = false;
  #isStopping = false;
  #onStopped: () => void = () => undefined;

  /** @param fd a socket that returns one message per receive; closed by {@link stop}. */
  constructor(runtime: Runtime, ring: Ring, fd: number, onNews: () => void) {
    const sys = loadSys();
    if (sys === null) throw new Error(whyNoSys());
    this.#sys = sys;
    this.#runtime = runtime;
    this.#ring = ring;
    this.#fd = fd;
    this.#onNews = onNews;
    this.#addr = sys.addressOf(this.#bytes);
    this.#owner = ring.addOwner(this, true);
    this.#receive();
  }

  /** Stops listening. Resolves when the ring and the socket are not used any more. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    if (this.#rest !== null) this.#runtime.clearTimer(this.#rest);
    if (this.#inFlight > 0) {
      this.#inFlight++;
      this.#ring.cancel(this.#owner, receiving, this.#owner, cancelling);
      await new Promise<void>((resolve) => {
        this.#onStopped = resolve;
      });
    }
    this.#ring.removeOwner(this.#owner);
    this.#sys.close(this.#fd);
  }

  onCompletion(tag: number, result: number): void {
    this.#inFlight--;
    if (this.#isStopping) {
      if (this.#inFlight === 0) this.#onStopped();
      return;
    }
    if (tag !== receiving) return;
    // The socket's buffer overflowed: some of the lost messages may have been about block devices.
    const isNews = result === -ENOBUFS || (result > 0 && this.#bytes.subarray(0, result).includes('\0SUBSYSTEM=block\0'));
    if (isNews) this.#tell();
    if (result > 0 || result === -ENOBUFS) this.#receive();
    else
      this.#runtime.log.warn(
        { errno: -result },
        'the kernel no longer reports which devices appear and disappear: they are scanned for periodically',
      );
  }

  #tell(): void {
    if (this.#rest !== null) {
      this.#isDue = true;
      return;
    }
    this.#rest = this.#runtime.setTimer(() => {
      this.#rest = null;
      if (!this.#isDue) return;
      this.#isDue = false;
      this.#tell();
    }, restMs);
    this.#onNews();
  }

  #receive(): void {
    this.#inFlight++;
    this.#ring.prepare(RingOp.RECV, this.#fd, 0, this.#addr, mostBytes, 0, this.#owner, receiving);
  }
}

/** Calls `onNews` when block devices have come, gone or changed. Returns a string for a log line if that is not possible. */
export function watchDevices(runtime: Runtime, ring: Ring, onNews: () => void): DeviceNews | string {
  const fd = loadSys()?.sockets.deviceEvents() ?? -38;
  return fd < 0 ? `netlink(7): errno ${-fd}` : new DeviceNews(runtime, ring, fd, onNews);
}

/** Checks the size and presence of every file and device of the registry now. Resolves when changes have been reported. */
export async function rescanAll(registry: BdevRegistry): Promise<void> {
  await Promise.all(registry.list().flatMap(({ driver }) => (driver instanceof LinuxDriver ? [driver.rescan()] : [])));
}
