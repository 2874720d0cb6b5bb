import { totalmem } from 'node:os';
import { Bdev, BdevError, IoType, Status, newUuid } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevRegistry, JsonObject } from '@raidkit/bdev';
import { defaultName } from './default-name.js';
import { MallocStorage } from './malloc-storage.js';
import { givenUuid } from './uuid.js';

/** Largest device in bytes; memory is allocated when a piece is first written. */
export const maxMallocBytes = 2 ** 33;

/** Options of {@link createMallocBdev}. */
export interface MallocOptions {
  /** Default: `Malloc0`, `Malloc1` … */
  name?: string;
  /** Default, also for the nil uuid: a random one. */
  uuid?: string;
  /** Bytes; a power of two, 512 to 65,536. */
  blockSize: number;
  numBlocks: number;
  /** Blocks; 0, the default, for none. Reads and writes are split at its multiples. */
  optimalIoBoundary?: number;
  /** In bytes; shown and saved, without effect. Default: `blockSize`. */
  physicalBlockSize?: number;
}

class MallocDriver implements BdevDriver {
  readonly kind = 'malloc';
  readonly productName = 'Malloc disk';
  readonly hasForceUnitAccess = true;
  readonly #storage: MallocStorage;
  readonly #memory: Uint8Array;
  readonly #blockSize: number;
  readonly #physicalBlockSize: number;
  bdev: Bdev | null = null;

  constructor(storage: MallocStorage, memory: Uint8Array, blockSize: number, physicalBlockSize: number) {
    this.#storage = storage;
    this.#memory = memory;
    this.#blockSize = blockSize;
    this.#physicalBlockSize = physicalBlockSize;
  }

  supports(): boolean {
    return true;
  }

  submit(io: BdevIo): void {
    io.complete(this.#perform(io));
  }

  configCall(): { method: string; params: JsonObject } | null {
    const { bdev } = this;
    if (bdev === null) return null;
    const params = {
      name: bdev.name,
      num_blocks: bdev.numBlocks,
      block_size: bdev.blockSize,
      physical_block_size: this.#physicalBlockSize,
      uuid: bdev.uuid,
      optimal_io_boundary: bdev.optimalIoBoundary,
      md_size: 0,
      dif_type: 0,
      dif_is_head_of_md: false,
      dif_pi_format: 0,
      numa_id: -1,
    };
    return { method: 'bdev_malloc_create', params };
  }

  driverSpecific(): JsonObject {
    return {};
  }

  #perform(io: BdevIo): Status {
    const offsetBytes = io.offsetBlocks * this.#blockSize;
    const lengthBytes = io.numBlocks * this.#blockSize;
    switch (io.type) {
      case IoType.Read:
        this.#storage.read(offsetBytes, this.#memory, io.addr, lengthBytes);
        return Status.Ok;
      case IoType.Write:
        try {
          this.#storage.write(offsetBytes, this.#memory, io.addr, lengthBytes);
        } catch {
          return Status.NoSpace;
        }
        return Status.Ok;
      case IoType.Unmap:
      case IoType.WriteZeroes:
        this.#storage.zero(offsetBytes, lengthBytes);
        return Status.Ok;
      case IoType.Flush:
      case IoType.Reset:
        return Status.Ok;
    }
  }
}

/**
 * Creates and registers a device in memory; resolves when it has been examined. It is all zeros at first and lost when it is
 * unregistered. Rejects with a `BdevError`: EINVAL, EEXIST, or ENOMEM above {@link maxMallocBytes} or the machine's memory.
 */
export async function createMallocBdev(registry: BdevRegistry, options: MallocOptions): Promise<Bdev> {
  const { blockSize, numBlocks, optimalIoBoundary = 0, physicalBlockSize = blockSize } = options;
  const uuid = givenUuid(options.uuid) ?? newUuid(registry.runtime);
  const name = options.name ?? defaultName(registry, 'Malloc');
  const bytes = blockSize * numBlocks;
  const most = Math.min(maxMallocBytes, totalmem());
  if (bytes > most) {
    const message = `malloc bdev ${name}: ${bytes} bytes are more than the maximum of ${most}`;
    throw new BdevError('ERR_BDEV_INVALID', Status.NoMemory, message);
  }
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    const message = `malloc bdev ${name}: ${numBlocks} blocks of ${blockSize} bytes are not a valid size`;
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
  }
  const memory = registry.runtime.memory.u8;
  const driver = new MallocDriver(new MallocStorage(bytes), memory, blockSize, physicalBlockSize);
  const splitOnBoundary = optimalIoBoundary > 0;
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks, optimalIoBoundary, splitOnBoundary, driver });
  driver.bdev = bdev;
  await registry.register(bdev);
  return bdev;
}
