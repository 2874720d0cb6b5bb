import { IoType, Status } from '@raidkit/bdev';
import type { Bdev, BdevDriver, BdevIo, BdevRegistry, JsonObject } from '@raidkit/bdev';
import { DeviceOp } from './device-op.js';
import type { OpHost } from './device-op.js';
import type { DeviceFile } from './device-file.js';
import { DeviceQueue } from './device-queue.js';
import { DeviceWatch } from './device-watch.js';
import type { IoEngine } from './engine.js';
import type { DirectIo } from './usable-file.js';

/** Options of {@link LinuxDriver}. */
export interface LinuxDriverOptions {
  registry: BdevRegistry;
  file: DeviceFile;
  engine: IoEngine;
  blockSize: number;
  hasBlockSizeOverride: boolean;
  readOnly: boolean;
  /** Unmap, and write zeroes by deallocation, were requested. */
  fallocate: boolean;
  directIo: DirectIo;
  canUnmap: boolean;
  canWriteZeroes: boolean;
  pollMs: number;
  /** Identity of the disk, or of a file's file system. */
  physicalDevice: string;
}

/** A file or block device as a bdev. RPC answers name it as SPDK names its own devices of this kind. */
export class LinuxDriver implements BdevDriver, OpHost {
  readonly kind = 'aio';
  readonly productName = 'AIO disk';
  /** The layer follows such writes with fdatasync(2). */
  readonly hasForceUnitAccess = false;
  readonly fd: number;
  readonly engine: IoEngine;
  readonly isBlockDevice: boolean;
  readonly blockSize: number;
  readonly zeroAddr: number;
  readonly zeroBytes: number;
  cannotPunchHoles = false;
  cannotWriteZeroes = false;
  cannotDiscard = false;
  readonly #options: LinuxDriverOptions;
  readonly #transfers: DeviceQueue;
  /** Unmaps and write zeroes have a queue of their own, because they take long and the engine may have few threads for them. */
  readonly #deallocations = new DeviceQueue(1);
  readonly #idle: DeviceOp[] = [];
  #flushError: Status = Status.Ok;
  /** Size of a regular file in bytes, cached for this turn of the event loop; -1 until an operation needs it. */
  #endBytes = -1;
  #bdev: Bdev | null = null;
  #watch: DeviceWatch | null = null;
  #onIdle: (() => void) | null = null;

  constructor(options: LinuxDriverOptions) {
    const { file, engine, blockSize, registry } = options;
    this.#options = options;
    this.fd = file.fd;
    this.engine = engine;
    this.isBlockDevice = file.isBlockDevice;
    this.blockSize = blockSize;
    this.zeroAddr = registry.runtime.memory.zeroAddr;
    this.zeroBytes = registry.runtime.memory.zeroBytes;
    this.#transfers = new DeviceQueue(engine.maxInFlightPerDevice);
  }

  /** Called once the device is registered: starts the checks of its size and presence. */
  attach(bdev: Bdev): void {
    const { registry, file, pollMs } = this.#options;
    this.#bdev = bdev;
    this.#watch = new DeviceWatch(registry, bdev, file, pollMs);
  }

  /** Identity of the device or file, and of its disk. */
  get identity(): string {
    return `${this.#options.file.key} on ${this.#options.physicalDevice}`;
  }

  physicalDevices(): readonly string[] {
    return [this.#options.physicalDevice];
  }

  rescan(): Promise<void> {
    return this.#watch?.check() ?? Promise.resolve();
  }

  supports(type: IoType): boolean {
    if (type === IoType.Unmap) return this.#options.canUnmap;
    if (type === IoType.WriteZeroes) return this.#options.canWriteZeroes;
    return true;
  }

  submit(io: BdevIo): void {
    switch (io.type) {
      case IoType.Reset:
        io.complete(Status.Ok);
        return;
      case IoType.Flush:
        // The kernel has dropped what it could not write, so no later flush can make up for it.
        if (this.#flushError !== Status.Ok) io.complete(this.#flushError);
        else if (this.#options.readOnly) io.complete(Status.Ok);
        else this.#transfers.push(this.#opFor(io));
        return;
      case IoType.Unmap:
        if (this.isBlockDevice ? this.cannotDiscard : this.cannotPunchHoles) io.complete(Status.NotSupported);
        else this.#deallocations.push(this.#opFor(io));
        return;
      case IoType.WriteZeroes:
        this.#deallocations.push(this.#opFor(io));
        return;
      case IoType.Read:
      case IoType.Write:
        this.#transfers.push(this.#opFor(io));
    }
  }

  endBytes(): number {
    if (this.isBlockDevice) return Infinity;
    if (this.#endBytes < 0) {
      this.#endBytes = Math.max(0, this.#options.file.fileSizeNow());
      this.#options.registry.runtime.soon(this.#forgetEnd);
    }
    return this.#endBytes;
  }

  readonly #forgetEnd = (): void => {
    this.#endBytes = -1;
  };

  opDone(op: DeviceOp, io: BdevIo, status: Status): void {
    const queue = io.type === IoType.Unmap || io.type === IoType.WriteZeroes ? this.#deallocations : this.#transfers;
    const wasStarted = op.wasStarted;
    this.#idle.push(op);
    if (status !== Status.Ok && status !== Status.Cancelled) this.#onError(io, status);
    io.complete(status);
    if (wasStarted) queue.finished();
    if (this.#onIdle !== null && this.#transfers.started + this.#deallocations.started === 0) this.#onIdle();
  }

  async destroy(): Promise<void> {
    this.#watch?.stop();
    // What is left in flight has timed out for its owners.
    this.#transfers.cancelWaiting();
    this.#deallocations.cancelWaiting();
    const { file, registry } = this.#options;
    if (this.#transfers.started + this.#deallocations.started === 0) {
      await file.close();
      return;
    }
    // A write in flight must not hit another file that gets the same descriptor number, so the device stays open and claimed.
    const name = this.#bdev?.name;
    registry.runtime.log.warn(
      { bdev: name, path: file.path },
      'I/O is still in flight on the device: it stays open and claimed until that has completed',
    );
    this.#onIdle = () => {
      this.#onIdle = null;
      file.close().catch((error: unknown) => {
        registry.runtime.log.error({ bdev: name, path: file.path, err: error }, 'closing a device failed');
      });
    };
  }

  driverSpecific(): JsonObject {
    const { file, hasBlockSizeOverride, readOnly, fallocate } = this.#options;
    return { aio: { filename: file.path, block_size_override: hasBlockSizeOverride, readonly: readOnly, fallocate } };
  }

  configCall(): { method: string; params: JsonObject } | null {
    const { file, hasBlockSizeOverride, readOnly, fallocate, directIo, blockSize } = this.#options;
    if (this.#bdev === null) return null;
    const { name, uuid } = this.#bdev;
    const size = hasBlockSizeOverride ? { block_size: blockSize } : {};
    // Left out for the default, because SPDK does not know it.
    const direct = directIo === 'auto' ? {} : { direct_io: directIo };
    return {
      method: 'bdev_aio_create',
      params: { name, ...size, filename: file.path, readonly: readOnly, fallocate, ...direct, uuid },
    };
  }

  #opFor(io: BdevIo): DeviceOp {
    const op = this.#idle.pop() ?? new DeviceOp(this);
    op.prepare(io);
    return op;
  }

  #onError(io: BdevIo, status: Status): void {
    if (io.type === IoType.Flush) {
      this.#flushError = status;
      const { registry, file } = this.#options;
      const message = 'a flush failed: written data is lost, and every flush fails until the device is opened again';
      registry.runtime.log.error({ bdev: this.#bdev?.name, path: file.path, errno: status }, message);
    }
    if (status === Status.Gone || status === Status.NoDevice) this.#watch?.removed(`I/O ended with errno ${status}`);
    // The device may have shrunk or gone.
    else if (status === Status.IoError) void this.#watch?.check();
  }
}
