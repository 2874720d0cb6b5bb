import type { Bdev, BdevEvent, OpenHandle } from '../device/bdev.js';
import { BdevError } from '../errors.js';
import type { BdevIo } from '../io/io.js';
import { Status } from '../io/status.js';

/** Options of `BdevRegistry.open`. */
export interface OpenOptions {
  /** Default false. Opening a claimed device for writing is refused. */
  writable?: boolean;
  /** Called in the turn in which the event happens. */
  onEvent?: (event: BdevEvent) => void;
  /**
   * Milliseconds after which an I/O through this descriptor completes with ETIMEDOUT; 0, the default, for never. A flush, an
   * unmap and write zeroes have longer (`Bdev.timeoutMultiplier`).
   */
  ioTimeoutMs?: number;
  /**
   * Called when the deadline of an I/O has passed (for a flush, after a single timeout). Returns for how many milliseconds more
   * to wait, or 0 to complete it with ETIMEDOUT, which is also what happens without this function. Must start and end no I/O.
   */
  onOverdue?: (io: BdevIo) => number;
}

/**
 * An open device. Because a volume belongs to one reactor, this is also the channel: I/O reaches the device in the order of the
 * calls. Made by `BdevRegistry.open`; `BlockClient` has promise-based calls for embedders.
 */
export class BdevDescriptor implements OpenHandle {
  readonly bdev: Bdev;
  readonly writable: boolean;
  ioTimeoutMs: number;
  readonly onOverdue: ((io: BdevIo) => number) | null;
  #onEvent: ((event: BdevEvent) => void) | null;
  #claim: string | null = null;
  #isOpen = true;
  #onClose: (() => void) | null;

  /** For the registry: use `BdevRegistry.open`. */
  constructor(bdev: Bdev, options: OpenOptions, onClose: () => void) {
    this.bdev = bdev;
    this.writable = options.writable ?? false;
    this.ioTimeoutMs = options.ioTimeoutMs ?? 0;
    this.onOverdue = options.onOverdue ?? null;
    this.#onEvent = options.onEvent ?? null;
    this.#onClose = onClose;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Whether this descriptor has the claim on the device. */
  get hasClaim(): boolean {
    return this.#claim !== null;
  }

  /** Starts the I/O; `io.owner` learns in a later turn how it ended. */
  submit(io: BdevIo): void {
    if (!this.#isOpen) throw new BdevError('ERR_BDEV_CLOSED', Status.NoDevice, `bdev ${this.bdev.name}: closed`);
    this.bdev.submit(io, this);
  }

  /**
   * Sets the deadline of everything in flight through this descriptor to now, so that an array stops waiting for a member it
   * can do without.
   */
  expire(): void {
    this.bdev.expire(this);
  }

  /**
   * Claims the device for `owner` (a name for messages): no other descriptor can be opened for writing. Throws EPERM while
   * another descriptor has the claim or has the device open for writing. A read-only descriptor may claim too; then nobody
   * writes.
   */
  claim(owner: string): void {
    const { bdev } = this;
    if (bdev.claimedBy !== null) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.NotPermitted, `bdev ${bdev.name} is claimed by ${bdev.claimedBy}`);
    }
    for (const other of bdev.descriptors) {
      if (other !== this && other.writable) {
        throw new BdevError('ERR_BDEV_CLAIMED', Status.NotPermitted, `bdev ${bdev.name} is open for writing by another user`);
      }
    }
    this.#claim = owner;
    bdev.setClaim(owner);
  }

  /** Releases the claim if this descriptor has it. */
  releaseClaim(): void {
    if (this.#claim === null) return;
    this.#claim = null;
    this.bdev.setClaim(null);
  }

  /** Closes the descriptor and releases its claim. I/O of this descriptor must be done. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.releaseClaim();
    this.#onEvent = null;
    const onClose = this.#onClose;
    this.#onClose = null;
    onClose?.();
  }

  /** Called by the device. */
  notify(event: BdevEvent): void {
    this.#onEvent?.(event);
  }
}
