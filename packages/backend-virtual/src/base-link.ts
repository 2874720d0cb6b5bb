import type { Bdev, BdevDescriptor, BdevIo, BdevRegistry, IoOwner } from '@raidkit/bdev';

/**
 * A device's link to the base below it: an exclusive claim, and the path of its I/O. When the base is removed, the upper device
 * is unregistered; when the base is resized, so is the upper device.
 */
export class BaseLink {
  readonly base: Bdev;
  readonly #registry: BdevRegistry;
  readonly #descriptor: BdevDescriptor;
  #upper: Bdev | null = null;
  #inFlight = 0;
  #isReleased = false;

  /** Throws as `BdevRegistry.open` and `BdevDescriptor.claim` do. */
  constructor(registry: BdevRegistry, baseName: string, claimant: string) {
    this.#registry = registry;
    this.#descriptor = registry.open(baseName, {
      writable: true,
      onEvent: (event) => {
        if (event.type === 'resize') this.#upper?.resize(event.numBlocks);
        else if (event.type === 'remove') this.#removeUpper();
      },
    });
    this.base = this.#descriptor.bdev;
    try {
      this.#descriptor.claim(claimant);
    } catch (error) {
      this.#descriptor.close();
      throw error;
    }
  }

  /** Registers the upper device, and resolves when it has been examined. Releases the base if that fails. */
  register(upper: Bdev): Promise<void> {
    try {
      const examined = this.#registry.register(upper);
      this.#upper = upper;
      return examined;
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Number of I/Os in flight to the base. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Returns a copy of `io` for the base, to be started by {@link send}. `owner` is told when it ends and must call {@link
   * done}.
   */
  copyOf(io: BdevIo, owner: IoOwner): BdevIo {
    const child = this.#registry.ios.get();
    child.type = io.type;
    child.flags = io.flags;
    child.offsetBlocks = io.offsetBlocks;
    child.numBlocks = io.numBlocks;
    child.addr = io.addr;
    child.owner = owner;
    child.context = io;
    child.tag = 0;
    return child;
  }

  send(child: BdevIo): void {
    this.#inFlight++;
    this.#descriptor.submit(child);
  }

  /** Puts back a child that is done and returns the upper device's request that it was made for. */
  done(child: BdevIo): BdevIo {
    const io = child.context as BdevIo;
    this.#registry.ios.put(child);
    this.#inFlight--;
    if (this.#isReleased && this.#inFlight === 0) this.#descriptor.close();
    return io;
  }

  /**
   * Closes the base: at once, or when the last I/O has completed. Until then an old write may still reach it, so no other user
   * may have it.
   */
  release(): void {
    this.#isReleased = true;
    if (this.#inFlight === 0) this.#descriptor.close();
  }

  #removeUpper(): void {
    const upper = this.#upper;
    if (upper?.state !== 'registered') return;
    this.#registry.unregister(upper).catch((error: unknown) => {
      this.#registry.runtime.log.error(
        { bdev: upper.name, err: error },
        'removing a device whose base bdev was removed failed',
      );
    });
  }
}
