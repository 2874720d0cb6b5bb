import { Bdev, BdevError, IoType, Status, newUuid } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevRegistry, JsonObject } from '@raidkit/bdev';
import { defaultName } from './default-name.js';
import { givenUuid } from './uuid.js';

/** Options of {@link createNullBdev}. */
export interface NullOptions {
  /** Default: `Null0`, `Null1` … */
  name?: string;
  /** Default, also for the nil uuid: a random one. */
  uuid?: string;
  /** Bytes; a power of two, 512 to 65,536. */
  blockSize: number;
  numBlocks: number;
  /** In bytes; shown and saved, without effect. Default: `blockSize`. */
  physicalBlockSize?: number;
}

/** Discards writes. Reads return zeros, so that a reply never shows data of another request. */
class NullDriver implements BdevDriver {
  readonly kind = 'null';
  readonly productName = 'Null disk';
  readonly hasForceUnitAccess = true;
  readonly #memory: Uint8Array;
  readonly #blockSize: number;
  readonly #physicalBlockSize: number;
  bdev: Bdev | null = null;

  constructor(memory: Uint8Array, blockSize: number, physicalBlockSize: number) {
    this.#memory = memory;
    this.#blockSize = blockSize;
    this.#physicalBlockSize = physicalBlockSize;
  }

  supports(type: IoType): boolean {
    return type !== IoType.Unmap && type !== IoType.Flush;
  }

  submit(io: BdevIo): void {
    if (io.type === IoType.Read) this.#memory.fill(0, io.addr, io.addr + io.numBlocks * this.#blockSize);
    io.complete(Status.Ok);
  }

  configCall(): { method: string; params: JsonObject } | null {
    const { bdev } = this;
    if (bdev === null) return null;
    const params = {
      name: bdev.name,
      num_blocks: bdev.numBlocks,
      block_size: bdev.blockSize,
      physical_block_size: this.#physicalBlockSize,
      md_size: 0,
      dif_type: 0,
      dif_is_head_of_md: false,
      dif_pi_format: 0,
      uuid: bdev.uuid,
    };
    return { method: 'bdev_null_create', params };
  }

  driverSpecific(): JsonObject {
    return {};
  }
}

/** Creates and registers a null device; resolves when it has been examined. */
export async function createNullBdev(registry: BdevRegistry, options: NullOptions): Promise<Bdev> {
  const { blockSize, numBlocks, physicalBlockSize = blockSize } = options;
  const uuid = givenUuid(options.uuid) ?? newUuid(registry.runtime);
  const name = options.name ?? defaultName(registry, 'Null');
  const driver = new NullDriver(registry.runtime.memory.u8, blockSize, physicalBlockSize);
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks, driver });
  driver.bdev = bdev;
  await registry.register(bdev);
  return bdev;
}

/** Enlarges a null device. Throws a `BdevError`: ENODEV if it is not one, EINVAL for a smaller or impossible size. */
export function resizeNullBdev(bdev: Bdev, numBlocks: number): void {
  if (!(bdev.driver instanceof NullDriver)) {
    throw new BdevError('ERR_BDEV_NOT_FOUND', Status.NoDevice, `bdev ${bdev.name} is not a null bdev`);
  }
  const isSize = Number.isInteger(numBlocks) && Number.isSafeInteger(numBlocks * bdev.blockSize);
  if (!isSize || numBlocks < bdev.numBlocks) {
    const message = `null bdev ${bdev.name} has ${bdev.numBlocks} blocks and can only grow, not become ${numBlocks}`;
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
  }
  bdev.resize(numBlocks);
}
