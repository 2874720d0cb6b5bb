import { Bdev, BdevError, IoType, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevDriver, BdevIo, BdevRegistry, IoOwner, JsonObject } from '@raidkit/bdev';
import { BaseLink } from './base-link.js';
import { derivedUuid, givenUuid } from './uuid.js';

const uuidNamespace = '0b7f0cf5-6f0a-4c7e-9a52-6f5a3c1f2d11';

/** Which I/O an injection applies to. Write zeroes count as writes. `clear` ends all injections and releases pending I/O. */
export type InjectIoType = 'read' | 'write' | 'unmap' | 'flush' | 'reset' | 'all' | 'clear';
/**
 * What an injection does to an I/O: `failure` fails it with EIO; `nomem` reports no resources, so that the bdev layer tries
 * again; `pending` holds it until a `clear`, {@link releasePending} or the device's removal, and then fails it; `corrupt_data`
 * changes one byte of its data.
 */
export type InjectErrorType = 'failure' | 'nomem' | 'pending' | 'corrupt_data';

/** Options of {@link injectError}. */
export interface InjectOptions {
  ioType: InjectIoType;
  /** Not needed to `clear`. */
  errorType?: InjectErrorType;
  /** Number of I/Os of each type that are affected; 0 to 2^32 - 1. Default 1. */
  num?: number;
  /** Only I/O that finds at least this many others of the device in flight is affected. Default 0. */
  queueDepth?: number;
  /** For `corrupt_data`: offset of the byte in the request's data; shorter requests are not affected. Default 0. */
  corruptOffset?: number;
  /** For `corrupt_data`: 1 to 255, combined with the byte by exclusive or. Default 255. */
  corruptValue?: number;
}

interface Injection {
  errorType: InjectErrorType;
  left: number;
  queueDepth: number;
  corruptOffset: number;
  corruptValue: number;
}

const typesOf: Readonly<Record<Exclude<InjectIoType, 'clear'>, readonly IoType[]>> = {
  read: [IoType.Read],
  write: [IoType.Write, IoType.WriteZeroes],
  unmap: [IoType.Unmap],
  flush: [IoType.Flush],
  reset: [IoType.Reset],
  all: [IoType.Read, IoType.Write, IoType.WriteZeroes, IoType.Unmap, IoType.Flush, IoType.Reset],
};

/** What to do when a child I/O completes; kept in its `BdevIo.tag`. */
const Step = {
  Plain: 0,
  /** Change one byte of what was read. */
  CorruptRead: 1,
  /** Write the block that contains the byte again, changed. */
  BeforeCorruptBlock: 2,
  CorruptBlock: 3,
} as const;

class ErrorDriver implements BdevDriver, IoOwner {
  readonly kind = 'error';
  readonly productName = 'Error Injection Disk';
  /** The base's bdev layer takes care of forced unit access. */
  readonly hasForceUnitAccess = true;
  readonly #registry: BdevRegistry;
  readonly #link: BaseLink;
  readonly #uuid: string;
  readonly #injections = new Map<IoType, Injection>();
  #pending: BdevIo[] = [];
  /** A descriptor of this device itself, to learn of its removal: pending I/O must end then. */
  #self: BdevDescriptor | null = null;

  constructor(registry: BdevRegistry, link: BaseLink, uuid: string) {
    this.#registry = registry;
    this.#link = link;
    this.#uuid = uuid;
  }

  watch(bdev: Bdev): void {
    this.#self = this.#registry.open(bdev, {
      onEvent: (event) => {
        if (event.type !== 'remove') return;
        this.#self?.close();
        this.#injections.clear();
        this.releasePending();
      },
    });
  }

  inject(options: InjectOptions): void {
    if (options.ioType === 'clear') {
      this.#injections.clear();
      this.releasePending();
      return;
    }
    const { errorType, num = 1, queueDepth = 0, corruptOffset = 0, corruptValue = 0xff } = options;
    check(errorType !== undefined, 'errorType is missing');
    check(Number.isInteger(num) && num >= 0 && num < 2 ** 32, `num must be 0 to 2^32 - 1, not ${num}`);
    check(Number.isSafeInteger(queueDepth) && queueDepth >= 0, `queueDepth must be 0 or more, not ${queueDepth}`);
    check(Number.isSafeInteger(corruptOffset) && corruptOffset >= 0, `corruptOffset must be 0 or more, not ${corruptOffset}`);
    const isByte = Number.isInteger(corruptValue) && corruptValue > 0 && corruptValue < 256;
    check(isByte, `corruptValue must be 1 to 255, not ${corruptValue}`);
    // Types that were named together share one record, except for `all`, so that writes and write zeroes count together.
    let injection = { errorType, left: num, queueDepth, corruptOffset, corruptValue };
    for (const type of typesOf[options.ioType]) {
      if (options.ioType === 'all' && type !== IoType.WriteZeroes) injection = { ...injection };
      this.#injections.set(type, injection);
    }
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** Done in a later turn, so that no callback runs inside a control call. */
  releasePending(): void {
    const released = this.#pending;
    if (released.length === 0) return;
    this.#pending = [];
    this.#registry.runtime.soon(() => {
      for (const io of released) io.complete(Status.IoError);
    });
  }

  supports(type: IoType): boolean {
    return this.#link.base.supports(type);
  }

  submit(io: BdevIo): void {
    const injection = this.#hit(io.type);
    switch (injection?.errorType) {
      case 'failure':
        io.complete(Status.IoError);
        return;
      case 'nomem':
        io.complete(Status.NoMemory);
        return;
      case 'pending':
        this.#pending.push(io);
        return;
      case 'corrupt_data':
        this.#sendCorrupted(io, injection);
        return;
      case undefined:
        this.#link.send(this.#link.copyOf(io, this));
    }
  }

  onIoDone(child: BdevIo): void {
    const { status, tag } = child;
    const io = this.#link.done(child);
    if (tag === Step.BeforeCorruptBlock && status === Status.Ok) {
      this.#sendCorruptBlock(io);
      return;
    }
    if (tag === Step.BeforeCorruptBlock || tag === Step.CorruptBlock) this.#registry.buffers.put(io.driverTag);
    if (tag === Step.CorruptRead && status === Status.Ok) {
      const { corruptOffset, corruptValue } = io.driverContext as Injection;
      this.#flip(io.addr + corruptOffset, corruptValue);
    }
    io.complete(status);
  }

  destroy(): void {
    this.#link.release();
  }

  physicalDevices(): readonly string[] {
    return this.#link.base.driver.physicalDevices?.() ?? [];
  }

  driverSpecific(): JsonObject {
    return { error_disk: { base_bdev: this.#link.base.name } };
  }

  configCall(): { method: string; params: JsonObject } {
    return { method: 'bdev_error_create', params: { base_name: this.#link.base.name, uuid: this.#uuid } };
  }

  #hit(type: IoType): Injection | undefined {
    const injection = this.#injections.get(type);
    if (injection === undefined || injection.left === 0 || this.#link.inFlight < injection.queueDepth) return undefined;
    injection.left--;
    return injection;
  }

  #sendCorrupted(io: BdevIo, injection: Injection): void {
    const { blockSize } = this.#link.base;
    const child = this.#link.copyOf(io, this);
    if (injection.corruptOffset < io.numBlocks * blockSize) {
      io.driverContext = injection;
      if (io.type === IoType.Read) child.tag = Step.CorruptRead;
      if (io.type === IoType.Write || io.type === IoType.WriteZeroes) {
        child.tag = Step.BeforeCorruptBlock;
        io.driverTag = this.#registry.buffers.get(blockSize);
        if (io.driverTag < 0) {
          injection.left++;
          this.#registry.ios.put(child);
          io.complete(Status.NoMemory);
          return;
        }
      }
    }
    this.#link.send(child);
  }

  /**
   * The caller's buffer must not change (a mirror writes it to its other members), so the bad block is sent as a second write.
   */
  #sendCorruptBlock(io: BdevIo): void {
    const { blockSize } = this.#link.base;
    const { u8 } = this.#registry.runtime.memory;
    const { corruptOffset, corruptValue } = io.driverContext as Injection;
    const block = Math.floor(corruptOffset / blockSize);
    const addr = io.driverTag;
    if (io.type === IoType.Write) {
      const from = io.addr + block * blockSize;
      u8.copyWithin(addr, from, from + blockSize);
    } else {
      u8.fill(0, addr, addr + blockSize);
    }
    this.#flip(addr + (corruptOffset % blockSize), corruptValue);
    const child = this.#link.copyOf(io, this);
    child.type = IoType.Write;
    child.offsetBlocks = io.offsetBlocks + block;
    child.numBlocks = 1;
    child.addr = addr;
    child.tag = Step.CorruptBlock;
    this.#link.send(child);
  }

  #flip(addr: number, value: number): void {
    const { u8 } = this.#registry.runtime.memory;
    u8[addr] = (u8[addr] ?? 0) ^ value;
  }
}

/** Options of {@link createErrorBdev}. */
export interface ErrorOptions {
  baseBdevName: string;
  /** Default, also for the nil uuid: derived from the base's uuid, the same each time. */
  uuid?: string;
}

/** Creates a device named `EE_<base>` over another one, which it claims; {@link injectError} makes it fail. */
export async function createErrorBdev(registry: BdevRegistry, options: ErrorOptions): Promise<Bdev> {
  const name = `EE_${options.baseBdevName}`;
  const given = givenUuid(options.uuid);
  const link = new BaseLink(registry, options.baseBdevName, `error ${name}`);
  const { base } = link;
  const uuid = given ?? derivedUuid(uuidNamespace, base.uuid);
  const { blockSize, numBlocks, optimalIoBoundary, writeUnitSize } = base;
  const driver = new ErrorDriver(registry, link, uuid);
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks, optimalIoBoundary, writeUnitSize, driver });
  const examined = link.register(bdev);
  driver.watch(bdev);
  await examined;
  return bdev;
}

/** Injects errors from the device's next I/O on. Throws a `BdevError`: ENODEV if it is not an error bdev, EINVAL. */
export function injectError(bdev: Bdev, options: InjectOptions): void {
  errorDriver(bdev).inject(options);
}

/** Fails the I/O that a `pending` injection holds with EIO, in a later turn. */
export function releasePending(bdev: Bdev): void {
  errorDriver(bdev).releasePending();
}

/** Number of I/Os that a `pending` injection holds. */
export function pendingCount(bdev: Bdev): number {
  return errorDriver(bdev).pendingCount;
}

function errorDriver(bdev: Bdev): ErrorDriver {
  if (bdev.driver instanceof ErrorDriver) return bdev.driver;
  throw new BdevError('ERR_BDEV_NOT_FOUND', Status.NoDevice, `bdev ${bdev.name} is not an error bdev`);
}

function check(holds: boolean, message: string): asserts holds {
  if (!holds) throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `cannot inject: ${message}`);
}
