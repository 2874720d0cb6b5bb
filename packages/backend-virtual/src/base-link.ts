import type { Bdev, BdevDescriptor, BdevIo, BdevRegistry, IoOwner } from '@raidkit/bdev';

/**
 * What a device that stands on another one has of it: an exclusive claim, and a way for I/O to go down. When the base
 * goes, the upper device is unregistered; when the base changes its size, so does the upper device.
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

  /** Registers the device that stands on this base, and resolves when it has been examined. Releases the base if that fails. */
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

  /** I/O of the upper device that the base has now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** A request to the base, like `io`, that {@link send} starts; `owner` hears of its end and calls {@link done}. */
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

  /** Takes a child that is done, and gives the request of the upper device that it was for. */
  done(child: BdevIo): BdevIo {
    const io = child.context as BdevIo;
    this.#registry.ios.put(child);
    this.#inFlight--;
    if (this.#isReleased && this.#inFlight === 0) this.#descriptor.close();
    return io;
  }

  /**
   * Gives the base up: at once, or when the last I/O has come back. Until then an old write may still reach it, so no other
   * user may have it.
   */
  release(): void {
    this.#isReleased = true;
    if (this.#inFlight === 0) this.#descriptor.close();
  }

  #removeUpper(): void {
    const upper = this.#upper;
    if (upper?.state !== 'registered') return;
    this.#registry.unregister(upper).catch((error: unknown) => {
      this.#registry.runtime.log.error({ bdev: upper.name, err: error }, 'removing a device whose base is gone failed');
    });
  }
}
