import { Bdev, IoType, Status } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevRegistry } from '@raidkit/bdev';

/** A device in memory whose bytes the test can access, and whose faults it sets. */
export class RamDisk implements BdevDriver {
  readonly kind = 'ram';
  readonly productName = 'RAM disk';
  readonly hasForceUnitAccess = false;
  bytes: Uint8Array;
  readonly blockSize: number;
  /** Called for each I/O; a status other than Ok is the I/O's end, null holds it back (see {@link held}). */
  fault: (io: BdevIo) => number | null = () => Status.Ok;
  readonly held: BdevIo[] = [];
  /** Turns of the event loop that an I/O takes, so that they end in another order than they began. */
  delayTurns: () => number = () => 0;
  /** Disks that it is on, by name. */
  physical: readonly string[] = [];
  /** Whether the disk supports flush. */
  hasFlush = true;
  /** Every I/O, as `read 0+8`. */
  readonly log: string[] = [];
  readonly #memory: Uint8Array;

  constructor(registry: BdevRegistry, bytes: Uint8Array, blockSize: number) {
    this.bytes = bytes;
    this.blockSize = blockSize;
    this.#memory = registry.runtime.memory.u8;
  }

  /** Adds bytes of junk at the end. Gives the new size in blocks. */
  grow(moreBytes: number): number {
    const grown = new Uint8Array(this.bytes.length + moreBytes).fill(0xee);
    grown.set(this.bytes);
    this.bytes = grown;
    return grown.length / this.blockSize;
  }

  supports(type: IoType): boolean {
    return this.hasFlush || type !== IoType.Flush;
  }

  physicalDevices(): readonly string[] {
    return this.physical;
  }

  submit(io: BdevIo): void {
    const name = ['read', 'write', 'unmap', 'flush', 'zero'][io.type] ?? 'other';
    this.log.push(io.type === IoType.Flush ? name : `${name} ${io.offsetBlocks}+${io.numBlocks}`);
    const status = this.fault(io);
    if (status === null) this.held.push(io);
    else this.#later(this.delayTurns(), () => this.finish(io, status));
  }

  /** Completes an I/O, whether or not it is held. */
  finish(io: BdevIo, status: number): void {
    if (status === Status.Ok) this.#perform(io);
    io.complete(status);
  }

  #later(turns: number, then: () => void): void {
    if (turns === 0) then();
    else setImmediate(() => this.#later(turns - 1, then));
  }

  #perform(io: BdevIo): void {
    const start = io.offsetBlocks * this.blockSize;
    const length = io.numBlocks * this.blockSize;
    const end = start + length;
    if (io.type === IoType.Read) this.#memory.set(this.bytes.subarray(start, end), io.addr);
    else if (io.type === IoType.Write) this.bytes.set(this.#memory.subarray(io.addr, io.addr + length), start);
    else if (io.type !== IoType.Flush) this.bytes.fill(0, start, end);
  }
}

/** Registers a disk with these contents. Resolves when it has been examined. */
export async function plugIn(
  registry: BdevRegistry,
  options: {
    name: string;
    uuid: string;
    bytes: Uint8Array;
    blockSize?: number;
    fault?: RamDisk['fault'];
    isReadOnly?: boolean;
    serial?: string;
  },
): Promise<{ bdev: Bdev; disk: RamDisk }> {
  const { name, uuid, bytes, blockSize = 512, fault, isReadOnly = false, serial = null } = options;
  const disk = new RamDisk(registry, bytes, blockSize);
  if (fault !== undefined) disk.fault = fault;
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks: bytes.length / blockSize, driver: disk, isReadOnly, serial });
  await registry.register(bdev);
  return { bdev, disk };
}
