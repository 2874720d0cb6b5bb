import { SizeClassPool } from '@raidkit/parity';
import type { BufferMemory } from '@raidkit/parity';
import type { Bdev } from '../device/bdev.js';
import { BdevDescriptor } from './descriptor.js';
import type { OpenOptions } from './descriptor.js';
import { BdevError } from '../errors.js';
import { IoPool } from '../io/io.js';
import type { BdevIo } from '../io/io.js';
import type { Runtime } from '../runtime/runtime.js';
import { Status } from '../io/status.js';

/** Examines a device that has just been registered, and may claim it. Errors are logged and do not stop other examiners. */
export type Examiner = (bdev: Bdev) => Promise<void> | void;

/** Listens to the registry. Called in the turn in which the change happens. */
export interface RegistryListener {
  /** The device can be opened, and has not been examined yet. */
  onRegistered?(bdev: Bdev): void;
  /** The device is gone: no descriptor is open, its name is free. */
  onUnregistered?(bdev: Bdev): void;
}

/**
 * Size classes of the shared buffers; `share` is the largest fraction of the memory that a class takes, `most` its largest
 * number of buffers.
 */
const classes = [
  { slotBytes: 4096, share: 1 / 16, most: 2048 },
  { slotBytes: 65_536, share: 1 / 16, most: 512 },
  { slotBytes: 262_144, share: 1 / 16, most: 128 },
  { slotBytes: 1_048_576, share: 1 / 8, most: 64 },
  { slotBytes: 4_194_304, share: 1 / 8, most: 16 },
] as const;

/** Size classes of {@link BdevRegistry.reserve}; the fields mean the same as in {@link classes}. */
const reserveClasses = [
  { slotBytes: 4096, share: 1 / 256, most: 64 },
  { slotBytes: 65_536, share: 1 / 128, most: 16 },
  { slotBytes: 1_048_576, share: 1 / 32, most: 4 },
] as const;

/** Room before each shared buffer, in bytes, for what a protocol puts in front of the data. */
export const bufferHeaderBytes = 4096;

/**
 * The devices of one runtime: names, opening, examining, and the pools that all their I/O uses.
 */
export class BdevRegistry {
  readonly runtime: Runtime;
  readonly ios = new IoPool();
  /** Buffers for users that have no pool of their own. Each has {@link bufferHeaderBytes} bytes of room before it. */
  readonly buffers: SizeClassPool;
  /** Reserve for a device's claimant: other users may hold every buffer of {@link buffers} while they wait for it. */
  readonly reserve: SizeClassPool;
  readonly #byName = new Map<string, Bdev>();
  readonly #examiners: Examiner[] = [];
  readonly #listeners = new Set<RegistryListener>();
  #examining = 0;
  #examineWaiters: (() => void)[] = [];
  // Never shortened: V8 frees the storage of an array that is cut to length 0, and the next push would allocate it again.
  #deferred: (BdevIo | null)[] = [];
  #draining: (BdevIo | null)[] = [];
  #deferredCount = 0;
  #isDrainScheduled = false;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
    this.buffers = newPool(runtime.memory, classes, bufferHeaderBytes);
    this.reserve = newPool(runtime.memory, reserveClasses, 0);
  }

  /** Looks a device up by name, alias or uuid. */
  get(name: string): Bdev | undefined {
    return this.#byName.get(name);
  }

  /** Every registered device, in the order of registration. */
  list(): Bdev[] {
    return [...new Set(this.#byName.values())];
  }

  /**
   * Registers a device and has it examined. It can be opened at once; resolves when every examiner has seen it. Throws EEXIST
   * (at once) if a name, alias or uuid is taken, EINVAL if its limits are out of range.
   */
  register(bdev: Bdev): Promise<void> {
    checkShape(bdev);
    const names = [...new Set([bdev.name, bdev.uuid, ...bdev.aliases])];
    for (const name of names) {
      if (this.#byName.has(name)) {
        throw new BdevError('ERR_BDEV_EXISTS', Status.Exists, `bdev ${bdev.name}: the name, alias or uuid ${name} is taken`);
      }
    }
    for (const name of names) this.#byName.set(name, bdev);
    bdev.attach(this);
    for (const listener of [...this.#listeners]) listener.onRegistered?.(bdev);
    return this.#examine(bdev);
  }

  /**
   * Removes the device: new I/O fails with ENODEV, and every descriptor is told to close. Once all are closed and nothing is in
   * flight, the driver is destroyed and the name is free. Resolves then.
   */
  async unregister(bdev: Bdev): Promise<void> {
    if (bdev.state !== 'registered') {
      throw new BdevError('ERR_BDEV_REMOVED', Status.NoDevice, `bdev ${bdev.name} is being removed already`);
    }
    bdev.onRemoving();
    for (const descriptor of [...bdev.descriptors]) descriptor.notify({ type: 'remove' });
    await this.#whenClosed(bdev);
    await bdev.whenIdle();
    try {
      await bdev.driver.destroy?.();
    } finally {
      bdev.onRemoved();
      for (const name of [bdev.name, bdev.uuid, ...bdev.aliases]) this.#byName.delete(name);
      for (const listener of [...this.#listeners]) listener.onUnregistered?.(bdev);
    }
  }

  /**
   * Opens a device. Throws ENODEV for an unknown name, EPERM for a writable open that a claim or a read-only device forbids.
   */
  open(nameOrBdev: string | Bdev, options: OpenOptions = {}): BdevDescriptor {
    const bdev = typeof nameOrBdev === 'string' ? this.get(nameOrBdev) : nameOrBdev;
    if (bdev?.state !== 'registered') {
      const name = typeof nameOrBdev === 'string' ? nameOrBdev : nameOrBdev.name;
      throw new BdevError('ERR_BDEV_NOT_FOUND', Status.NoDevice, `there is no bdev ${name}`);
    }
    if (options.writable === true) {
      if (bdev.isReadOnly) {
        throw new BdevError('ERR_BDEV_READ_ONLY', Status.NotPermitted, `bdev ${bdev.name} is read-only`);
      }
      if (bdev.claimedBy !== null) {
        const message = `bdev ${bdev.name} is claimed by ${bdev.claimedBy}`;
        throw new BdevError('ERR_BDEV_CLAIMED', Status.NotPermitted, message);
      }
    }
    const descriptor = new BdevDescriptor(bdev, options, () => {
      bdev.removeDescriptor(descriptor);
      if (bdev.descriptors.size === 0) this.#onLastClose.get(bdev)?.();
    });
    bdev.addDescriptor(descriptor);
    return descriptor;
  }

  addExaminer(examiner: Examiner): void {
    this.#examiners.push(examiner);
  }

  /** Removes an examiner; it does not see devices that are registered from now on. */
  removeExaminer(examiner: Examiner): void {
    const index = this.#examiners.indexOf(examiner);
    if (index >= 0) this.#examiners.splice(index, 1);
  }

  addListener(listener: RegistryListener): void {
    this.#listeners.add(listener);
  }

  removeListener(listener: RegistryListener): void {
    this.#listeners.delete(listener);
  }

  /** Resolves when no device is being examined. */
  waitForExamine(): Promise<void> {
    if (this.#examining === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#examineWaiters.push(resolve);
    });
  }

  /** Counts `work` as examining, for {@link waitForExamine}. */
  async whileExamining(work: Promise<void>): Promise<void> {
    this.#examining++;
    try {
      await work;
    } finally {
      if (--this.#examining === 0) {
        const waiters = this.#examineWaiters;
        this.#examineWaiters = [];
        for (const waiter of waiters) waiter();
      }
    }
  }

  /** For bdevs: tells the I/O's device in a later turn. What is deferred during that turn waits for the next one. */
  defer(io: BdevIo): void {
    this.#deferred[this.#deferredCount++] = io;
    if (this.#isDrainScheduled) return;
    this.#isDrainScheduled = true;
    this.runtime.soon(this.#drain);
  }

  readonly #drain = (): void => {
    this.#isDrainScheduled = false;
    const batch = this.#deferred;
    const count = this.#deferredCount;
    this.#deferred = this.#draining;
    this.#draining = batch;
    this.#deferredCount = 0;
    let told = 0;
    try {
      while (told < count) {
        const io = batch[told];
        batch[told++] = null;
        io?.bdev?.onDeferred(io);
      }
    } finally {
      // If an owner threw, the others are told in the next turn.
      for (; told < count; told++) {
        const io = batch[told];
        if (io) this.defer(io);
        batch[told] = null;
      }
    }
  };

  readonly #onLastClose = new Map<Bdev, () => void>();

  #whenClosed(bdev: Bdev): Promise<void> {
    if (bdev.descriptors.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onLastClose.set(bdev, () => {
        this.#onLastClose.delete(bdev);
        resolve();
      });
    });
  }

  #examine(bdev: Bdev): Promise<void> {
    if (this.#examiners.length === 0) return Promise.resolve();
    return this.whileExamining(this.#runExaminers(bdev));
  }

  async #runExaminers(bdev: Bdev): Promise<void> {
    for (const examiner of [...this.#examiners]) {
      try {
        await examiner(bdev);
      } catch (error) {
        this.runtime.log.error({ bdev: bdev.name, err: error }, 'examining a device failed');
      }
    }
  }
}

function checkShape(bdev: Bdev): void {
  const { name, blockSize, numBlocks, optimalIoBoundary, writeUnitSize } = bdev;
  const refuse = (field: string, limit: string): never => {
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `bdev ${name}: ${field} must be ${limit}`);
  };
  if (name.length < 1 || name.length > 255) refuse('name', '1 to 255 characters long');
  if (blockSize < 512 || blockSize > 65_536 || (blockSize & (blockSize - 1)) !== 0) {
    refuse('blockSize', `a power of two from 512 to 65536, not ${blockSize}`);
  }
  if (!Number.isSafeInteger(numBlocks) || numBlocks < 1 || !Number.isSafeInteger(numBlocks * blockSize)) {
    refuse('numBlocks', `1 or more and below 2^53 bytes, not ${numBlocks}`);
  }
  if (!Number.isSafeInteger(optimalIoBoundary) || optimalIoBoundary < 0) refuse('optimalIoBoundary', '0 or more blocks');
  if (!Number.isSafeInteger(writeUnitSize) || writeUnitSize < 1) refuse('writeUnitSize', '1 block or more');
}

function newPool(
  memory: BufferMemory,
  sizes: readonly { slotBytes: number; share: number; most: number }[],
  headerBytes: number,
): SizeClassPool {
  const counted = sizes.map(({ slotBytes, share, most }, index) => {
    const count = Math.min(most, Math.floor((memory.bytes * share) / (slotBytes + headerBytes)));
    // There is at least one buffer of the smallest class, however small the memory is.
    return { slotBytes, count: index === 0 ? Math.max(count, 1) : count };
  });
  return new SizeClassPool(memory, { classes: counted.filter(({ count }) => count > 0), headerBytes });
}
