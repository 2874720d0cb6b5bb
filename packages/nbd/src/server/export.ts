import { IoType, Status } from '@raidkit/bdev';
import type { Bdev, BdevDescriptor, BdevEvent, BdevRegistry, IoPool, RangeLocks, Runtime } from '@raidkit/bdev';
import type { BufferMemory, SizeClassPool } from '@raidkit/parity';
import { NbdError } from '../errors.js';
import { Command, ExtentFlag, TransmissionFlag } from '../wire/constants.js';
import type { HandshakeExport } from '../handshake/handshake.js';
import { checkRules } from './rights.js';
import type { ClientRule } from './rights.js';
import { maximumBytes } from '../wire/option-replies.js';
import { NbdRequest } from '../commands/request.js';
import { ZeroTrimTurns } from '../commands/zero-trim-turns.js';
import type { AllocationMap, TransmissionTarget } from '../transmission/host.js';
import type { QuotaShare } from '../transmission/server-quota.js';

/** Longest name of an export, in bytes of UTF-8. */
export const maxNameBytes = 256;
/** Longest description of an export, in bytes of UTF-8. */
export const maxDescriptionBytes = 1024;

const smallestPreferredBytes = 4096;

/** Returns the allocation that the device's driver reports; null if it reports none. */
function allocationOf({ blockSize, driver }: Bdev): AllocationMap | null {
  if (driver.extents === undefined) return null;
  return (offset, lengthBytes, add) => {
    const end = offset + lengthBytes;
    const firstBlock = Math.floor(offset / blockSize);
    let block = firstBlock;
    let at = offset;
    driver.extents?.(firstBlock, Math.ceil(end / blockSize) - firstBlock, (numBlocks, isZero) => {
      block += numBlocks;
      const from = at;
      at = Math.min(block * blockSize, end);
      return add(at - from, isZero ? ExtentFlag.Hole | ExtentFlag.Zero : 0);
    });
  };
}

/** A connection that uses an export. */
export interface ExportUser {
  /**
   * Takes no further requests, stops trims and write zeroes, answers the other requests in flight and then closes the
   * connection.
   */
  callOff(): void;
  /** Closes the connection at once, without replies. */
  abort(reason: string): void;
}

/** Counters of an export since it was added. */
export interface NbdExportStats {
  readRequests: number;
  writeRequests: number;
  otherRequests: number;
  readBytes: number;
  writtenBytes: number;
  /** Requests that were answered with an error. */
  errors: number;
}

/** Properties of an export apart from its device. */
export interface ExportOptions {
  name: string;
  description: string;
  isDefault: boolean;
  clients: readonly ClientRule[] | null;
  allocation: AllocationMap | null;
  share: QuotaShare;
}

/** A bdev that clients can use under a name. `NbdServer.addExport` creates it. */
export class NbdExport implements HandshakeExport, TransmissionTarget {
  readonly name: string;
  readonly description: string;
  readonly isDefault: boolean;
  readonly isReadOnly: boolean;
  /** Rules for the clients that may use the export; null if all clients may. */
  readonly clients: readonly ClientRule[] | null;
  /** The same export for clients that may only read; null if no rule of a writable export is read-only. */
  readers: NbdExport | null = null;
  readonly bdev: Bdev;
  readonly descriptor: BdevDescriptor;
  readonly ios: IoPool;
  readonly memory: BufferMemory;
  readonly buffers: SizeClassPool;
  readonly runtime: Runtime;
  readonly blockSize: number;
  /**
   * The locks belong to the device, because several exports of it must not read, modify and write the same block at the same
   * time.
   */
  readonly locks: RangeLocks;
  readonly zeroTrimTurns = new ZeroTrimTurns();
  /** Limits the server memory that clients of this export hold together. */
  readonly share: QuotaShare;
  readonly allocation: AllocationMap | null;
  readonly connections = new Set<ExportUser>();
  readonly stats: NbdExportStats = {
    readRequests: 0,
    writeRequests: 0,
    otherRequests: 0,
    readBytes: 0,
    writtenBytes: 0,
    errors: 0,
  };
  /** Preferred size and alignment of writes to the device, in bytes; at least one block. */
  readonly unitBytes: number;

  #onUnused: (() => void) | null = null;

  constructor(
    registry: BdevRegistry,
    bdev: Bdev,
    isReadOnly: boolean,
    options: ExportOptions,
    onEvent: (event: BdevEvent) => void,
  ) {
    checkText('name', options.name, maxNameBytes);
    checkText('description', options.description, maxDescriptionBytes);
    this.name = options.name;
    this.description = options.description;
    this.isDefault = options.isDefault;
    this.clients = options.clients;
    if (this.clients !== null) checkRules(this.clients);
    this.share = options.share;
    this.allocation = options.allocation ?? allocationOf(bdev);
    this.isReadOnly = isReadOnly;
    this.bdev = bdev;
    this.locks = bdev.writeLocks;
    this.descriptor = registry.open(bdev, { writable: !isReadOnly, onEvent });
    this.ios = registry.ios;
    this.runtime = registry.runtime;
    this.memory = registry.runtime.memory;
    this.buffers = registry.buffers;
    this.blockSize = bdev.blockSize;
    const unitBlocks = bdev.writeUnitSize > 1 ? bdev.writeUnitSize : Math.max(bdev.optimalIoBoundary, 1);
    this.unitBytes = unitBlocks * bdev.blockSize;
  }

  /** Current size in bytes. After the device is resized, the next client that asks gets the new size. */
  get sizeBytes(): number {
    return this.bdev.numBlocks * this.blockSize;
  }

  /**
   * Preferred block size to advertise, in bytes: the largest power of two that divides `unitBytes`, but at least 4 KiB and at
   * most `maximumBytes`.
   */
  get preferredBytes(): number {
    let preferred = smallestPreferredBytes;
    while (preferred < maximumBytes && this.unitBytes % (preferred * 2) === 0) preferred *= 2;
    return preferred;
  }

  get canTrim(): boolean {
    return this.bdev.supports(IoType.Unmap);
  }

  get hasFastZero(): boolean {
    return this.bdev.driver.supports(IoType.WriteZeroes);
  }

  transmissionFlags(isChunked: boolean): number {
    const flag = TransmissionFlag;
    let flags = flag.HasFlags | flag.SendFlush | flag.SendFua | flag.CanMultiConn | flag.SendCache;
    if (isChunked) flags |= flag.SendDf;
    if (this.isReadOnly) return flags | flag.ReadOnly;
    if (this.canTrim) flags |= flag.SendTrim;
    return flags | flag.SendWriteZeroes | flag.SendFastZero;
  }

  /** For connections: cancels I/O that rate limits hold back and that no client waits for any more. */
  cancelUnwanted(): void {
    this.bdev.cancelHeld(({ descriptor, context }) => {
      if (descriptor !== this.descriptor || !(context instanceof NbdRequest)) return false;
      return context.owner?.isWanted(context) === false;
    });
  }

  /** For connections: counts a request that has been answered. */
  count(request: NbdRequest): void {
    const { stats } = this;
    if (request.errno !== 0) stats.errors++;
    if (request.command === Command.Read) {
      stats.readRequests++;
      if (request.errno === 0) stats.readBytes += request.lengthBytes;
    } else if (request.command === Command.Write) {
      stats.writeRequests++;
      if (request.errno === 0) stats.writtenBytes += request.lengthBytes;
    } else {
      stats.otherRequests++;
    }
  }

  attach(connection: ExportUser): void {
    this.connections.add(connection);
  }

  /** Called when a connection is gone and has nothing in flight. Returns false if it was never attached. */
  detach(connection: ExportUser): boolean {
    const wasAttached = this.connections.delete(connection);
    if (this.connections.size === 0) this.#onUnused?.();
    return wasAttached;
  }

  /**
   * Closes the descriptor of the device once no connection uses the export, and resolves then. No connection may be attached
   * after the call.
   */
  async close(): Promise<void> {
    if (this.connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onUnused = resolve;
      });
    }
    this.descriptor.close();
  }
}

function checkText(field: string, text: string, mostBytes: number): void {
  const isText = !/\0|\p{Surrogate}/u.test(text);
  if (isText && Buffer.byteLength(text) <= mostBytes) return;
  throw new NbdError(
    'ERR_NBD_INVALID',
    Status.Invalid,
    `the ${field} of an NBD export must be at most ${mostBytes} bytes of UTF-8 without NUL and lone surrogates`,
  );
}
