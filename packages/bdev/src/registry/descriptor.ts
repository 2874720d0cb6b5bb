import type { Bdev, BdevEvent, OpenHandle } from '../device/bdev.js';
import { BdevError } from '../errors.js';
import type { BdevIo } from '../io/io.js';
import { Status } from '../io/status.js';

/** How to open a device. */
export interface OpenOptions {
  /** Default false. A writable open of a device that is claimed is refused. */
  writable?: boolean;
  /** Called in the turn in which it happens. */
  onEvent?: (event: BdevEvent) => void;
  /**
   * Milliseconds after which an I/O through this descriptor is reported as ETIMEDOUT; 0, the default, for never. A flush,
   * an unmap and write zeroes have longer (`Bdev.timeoutMultiplier`).
   */
  ioTimeoutMs?: number;
  /**
   * Asked when the deadline of an I/O has passed, a flush's after one timeout too: for how many milliseconds more it is waited
   * for; 0: it is given up. Must start and end no I/O. Absent: what is overdue is given up.
   */
  onOverdue?: (io: BdevIo) => number;
}

/**
 * An open device. As a volume belongs to one reactor, this is also the channel: I/O goes in here, in the order of the
 * calls. Made by `BdevRegistry.open`; promise-shaped calls for embedders are in `BlockClient`.
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

  /** Whether the exclusive right to write is this descriptor's. */
  get hasClaim(): boolean {
    return this.#claim !== null;
  }

  /** Starts the I/O; `io.owner` is told, in a later turn, how it ended. */
  submit(io: BdevIo): void {
    if (!this.#isOpen) throw new BdevError('ERR_BDEV_CLOSED', Status.NoDevice, `bdev ${this.bdev.name}: closed`);
    this.bdev.submit(io, this);
  }

  /** The deadline of all that is in flight through this descriptor is now: what an array can do without is not waited for. */
  expire(): void {
    this.bdev.expire(this);
  }

  /**
   * Takes the exclusive right to write, for `owner` (a name for messages); through a descriptor that may only read, the right
   * that no descriptor writes. Refused with EPERM while another descriptor has it, or has the device open for writing.
   */
  claim(owner: string): void {
    const { bdev } = this;
    if (bdev.claimedBy !== null) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.NotPermitted, `bdev ${bdev.name} is claimed by ${bdev.claimedBy}`);
    }
    for (const other of bdev.descriptors) {
      if (other !== this && other.writable) {
        throw new BdevError('ERR_BDEV_CLAIMED', Status.NotPermitted, `bdev ${bdev.name} is open for writing elsewhere`);
      }
    }
    this.#claim = owner;
    bdev.claimedBy = owner;
  }

  /** No effect without a claim of this descriptor's. */
  releaseClaim(): void {
    if (this.#claim === null) return;
    this.#claim = null;
    this.bdev.claimedBy = null;
  }

  /** Ends the use, and the claim if there is one. I/O of this descriptor must be done. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.releaseClaim();
    this.#onEvent = null;
    const onClose = this.#onClose;
    this.#onClose = null;
    onClose?.();
  }

  /** For the device. */
  notify(event: BdevEvent): void {
    this.#onEvent?.(event);
  }
}
