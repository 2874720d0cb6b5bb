import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { BdevRegistry } from '@raidkit/bdev';
import type { Logger } from 'pino';
import type { Exports } from './exports.js';
import { RpcError, errnoRefusal } from './rpc/errors.js';
import type { NameTable } from './shared-names.js';

/** Number of kernel NBD devices that are searched for a free one. */
const mostDevices = 64;
/** Time limit of nbd-client, in milliseconds. */
const limitMs = 20_000;
/** Its time limit when the daemon ends, in milliseconds. */
const lastLimitMs = 3000;

/** A volume or other device that is attached to the kernel as a block device. */
export interface Attachment {
  readonly bdevName: string;
  /** `/dev/nbdN` */
  readonly device: string;
}

/**
 * Devices that are attached to the kernel's NBD client. SPDK talks to the kernel itself; here nbd-client(8) connects to one of
 * the daemon's Unix sockets. An attachment ends with its device.
 */
export class KernelAttachments {
  readonly #exports: Exports;
  readonly #registry: BdevRegistry;
  readonly #names: NameTable;
  readonly #log: Logger;
  /** Names of attached bdevs, by kernel device. */
  readonly #attached = new Map<string, string>();

  constructor(registry: BdevRegistry, exports: Exports, names: NameTable, log: Logger) {
    this.#registry = registry;
    this.#exports = exports;
    this.#names = names;
    this.#log = log;
    registry.addListener({
      onUnregistered: ({ name }) => {
        for (const { bdevName, device } of this.list()) if (bdevName === name) void this.#letGo(device, limitMs);
      },
    });
  }

  list(): Attachment[] {
    return [...this.#attached].map(([device, bdevName]) => ({ device, bdevName }));
  }

  has(device: string): boolean {
    return this.#attached.has(device);
  }

  /**
   * Attaches a device and returns the kernel's device. Throws an `RpcError` if the device does not exist, or nbd-client is
   * missing or fails.
   */
  async attach(bdevName: string, wanted: string | undefined): Promise<string> {
    if (this.#registry.get(bdevName) === undefined) throw errnoRefusal(19, `there is no bdev ${bdevName}`);
    const device = wanted ?? this.#freeDevice();
    if (!existsSync(device)) {
      throw new RpcError(
        -19,
        `${device} does not exist: the kernel's nbd module is not loaded. Use the volume's NBD URI instead (raidkit_nbd_get_exports).`,
      );
    }
    if (!this.#names.take(`kernel ${device}`)) throw errnoRefusal(16, `${device} is attached already`);
    try {
      const path = this.#exports.unixPath;
      if (path === null)
        throw new RpcError(-22, 'no NBD Unix socket is served to connect the kernel to: start raidkitd with --nbd unix:PATH');
      if (this.#exports.isTlsRequired)
        throw new RpcError(-22, 'the kernel is attached without TLS, which --tls require refuses');
      await this.#connect(bdevName, path, device);
    } catch (error) {
      this.#names.release(`kernel ${device}`);
      throw error;
    }
    this.#attached.set(device, bdevName);
    return device;
  }

  /** Connects the kernel to the device's export, which is made if there is none and removed again if this fails. */
  async #connect(bdevName: string, path: string, device: string): Promise<void> {
    const hasExport = (): boolean => this.#exports.list().some((entry) => entry.name === bdevName);
    const wasExported = hasExport();
    if (!wasExported) this.#exports.add({ bdevName });
    try {
      await runClient(['-unix', path, '-N', bdevName, device], limitMs);
      // The device may have been removed meanwhile.
      if (this.#registry.get(bdevName) === undefined) throw errnoRefusal(19, `bdev ${bdevName} was removed`);
    } catch (error) {
      if (!wasExported && hasExport()) await this.#exports.remove(bdevName);
      throw error;
    }
  }

  /** Detaches a kernel device. Throws ENODEV if it is not attached. */
  async detach(device: string): Promise<void> {
    if (!this.#attached.has(device)) throw errnoRefusal(19, `${device} is not attached`);
    await runClient(['-d', device], limitMs);
    this.#forget(device);
  }

  /** Detaches all devices. Never rejects, and does not take long. */
  async end(): Promise<void> {
    await Promise.all([...this.#attached.keys()].map((device) => this.#letGo(device, lastLimitMs)));
  }

  async #letGo(device: string, withinMs: number): Promise<void> {
    this.#attached.delete(device);
    try {
      await runClient(['-d', device], withinMs);
    } catch (error) {
      this.#log.warn({ device, err: error }, 'the kernel could not be told to disconnect a device');
    }
    this.#names.release(`kernel ${device}`);
  }

  #forget(device: string): void {
    if (this.#attached.delete(device)) this.#names.release(`kernel ${device}`);
  }

  #freeDevice(): string {
    for (let index = 0; index < mostDevices; index++) {
      const device = `/dev/nbd${index}`;
      // A connected device has a pid in sysfs.
      if (existsSync(device) && !this.#attached.has(device) && !existsSync(`/sys/block/nbd${index}/pid`)) return device;
    }
    return '/dev/nbd0';
  }
}

function runClient(args: string[], withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nbd-client', args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: withinMs, killSignal: 'SIGKILL' });
    let text = '';
    child.stderr.on('data', (piece: Buffer) => (text = (text + piece.toString()).slice(-2048)));
    child.on('error', () => reject(new RpcError(-2, 'nbd-client is not installed: the kernel cannot be attached without it')));
    child.on('exit', (code, signal) => {
      if (code === 0) resolve();
      else if (signal === 'SIGKILL') reject(new RpcError(-110, `nbd-client did not end within ${withinMs / 1000} s`));
      else reject(new RpcError(-5, `nbd-client failed: ${text.trim()}`));
    });
  });
}
