import type { Bdev, BdevRegistry, TimerHandle } from '@raidkit/bdev';
import type { DeviceFile } from './device-file.js';

/** Checks periodically whether a device has been resized or removed, and tells its bdev. */
export class DeviceWatch {
  readonly #registry: BdevRegistry;
  readonly #bdev: Bdev;
  readonly #file: DeviceFile;
  readonly #pollMs: number;
  #timer: TimerHandle | null = null;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #isUnlinked = false;

  /** @param pollMs milliseconds between two checks; 0 for never. */
  constructor(registry: BdevRegistry, bdev: Bdev, file: DeviceFile, pollMs: number) {
    this.#registry = registry;
    this.#bdev = bdev;
    this.#file = file;
    this.#pollMs = pollMs;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) this.#registry.runtime.clearTimer(this.#timer);
    this.#timer = null;
  }

  /** Checks now. Resolves when changes have been reported; joins a check that is already running. */
  check(): Promise<void> {
    this.#running ??= this.#look().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The device is gone: unregisters the bdev in a later turn, so that the I/O that revealed it completes first. */
  removed(reason: string): void {
    this.#registry.runtime.soon(() => {
      const { name, state } = this.#bdev;
      if (this.#isStopped || state !== 'registered') return;
      const { log } = this.#registry.runtime;
      log.error({ bdev: name, path: this.#file.path, reason }, 'the device was removed');
      this.#registry.unregister(this.#bdev).catch((error: unknown) => {
        log.error({ bdev: name, err: error }, 'removing a device failed');
      });
    });
  }

  async #look(): Promise<void> {
    if (this.#isStopped) return;
    const { log } = this.#registry.runtime;
    const { path, isBlockDevice } = this.#file;
    const { name, blockSize } = this.#bdev;
    try {
      const { isPresent, sizeBytes } = await this.#file.look();
      if (!isPresent && isBlockDevice) {
        this.removed('the kernel no longer has the device');
        return;
      }
      if (!isPresent && !this.#isUnlinked) {
        this.#isUnlinked = true;
        log.warn({ bdev: name, path }, 'the file was deleted; its data is lost when the bdev is closed');
      }
      this.#resize(Math.floor(sizeBytes / blockSize));
    } catch (error) {
      log.warn({ bdev: name, path, err: error }, 'the size of a device cannot be read');
    }
  }

  #resize(numBlocks: number): void {
    if (this.#isStopped || this.#bdev.state !== 'registered' || numBlocks === this.#bdev.numBlocks) return;
    const { name, numBlocks: before } = this.#bdev;
    if (numBlocks === 0) {
      this.removed('no block is left');
      return;
    }
    const { log } = this.#registry.runtime;
    const fields = { bdev: name, path: this.#file.path, before, after: numBlocks };
    if (numBlocks < before) log.error(fields, 'a device has shrunk: blocks at its end are lost');
    else log.info(fields, 'a device has grown');
    this.#bdev.resize(numBlocks);
  }

  #schedule(): void {
    if (this.#isStopped || this.#pollMs === 0) return;
    const { runtime } = this.#registry;
    // All devices are checked at the same time, so that an idle processor is woken once for all.
    const delayMs = this.#pollMs - (runtime.now() % this.#pollMs);
    this.#timer = runtime.setWatchTimer(() => {
      void this.check().then(() => this.#schedule());
    }, delayMs);
  }
}
