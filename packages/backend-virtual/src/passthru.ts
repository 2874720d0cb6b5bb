import { Bdev } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevRegistry, IoOwner, IoType, JsonObject } from '@raidkit/bdev';
import { BaseLink } from './base-link.js';
import { derivedUuid, givenUuid } from './uuid.js';

/** SPDK's namespace for this kind of device, so that both derive the same uuid from the same base. */
const uuidNamespace = '7e25812e-c8c0-4d3f-8599-16d790555b85';

/** Options of {@link createPassthruBdev}. */
export interface PassthruOptions {
  baseBdevName: string;
  name: string;
  /** Default, also for the nil uuid: derived from the base's uuid, the same each time. */
  uuid?: string;
}

class PassthruDriver implements BdevDriver, IoOwner {
  readonly kind = 'passthru';
  readonly productName = 'passthru';
  /** The base's bdev layer takes care of forced unit access. */
  readonly hasForceUnitAccess = true;
  readonly #link: BaseLink;
  readonly #name: string;
  readonly #uuid: string;

  constructor(link: BaseLink, name: string, uuid: string) {
    this.#link = link;
    this.#name = name;
    this.#uuid = uuid;
  }

  supports(type: IoType): boolean {
    return this.#link.base.supports(type);
  }

  submit(io: BdevIo): void {
    this.#link.send(this.#link.copyOf(io, this));
  }

  onIoDone(child: BdevIo): void {
    const { status } = child;
    this.#link.done(child).complete(status);
  }

  destroy(): void {
    this.#link.release();
  }

  physicalDevices(): readonly string[] {
    return this.#link.base.driver.physicalDevices?.() ?? [];
  }

  driverSpecific(): JsonObject {
    return { passthru: { name: this.#name, base_bdev_name: this.#link.base.name } };
  }

  configCall(): { method: string; params: JsonObject } {
    const params = { base_bdev_name: this.#link.base.name, name: this.#name, uuid: this.#uuid };
    return { method: 'bdev_passthru_create', params };
  }
}

/**
 * Creates and registers a device that passes everything to another one, which it claims; resolves when it has been examined.
 * Rejects with a `BdevError`: ENODEV if there is no such base, EPERM if it is claimed or open for writing, EEXIST, EINVAL.
 */
export async function createPassthruBdev(registry: BdevRegistry, options: PassthruOptions): Promise<Bdev> {
  const { baseBdevName, name } = options;
  const given = givenUuid(options.uuid);
  const link = new BaseLink(registry, baseBdevName, `passthru ${name}`);
  const { base } = link;
  const uuid = given ?? derivedUuid(uuidNamespace, base.uuid);
  const { blockSize, numBlocks, optimalIoBoundary, writeUnitSize } = base;
  const driver = new PassthruDriver(link, name, uuid);
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks, optimalIoBoundary, writeUnitSize, driver });
  await link.register(bdev);
  return bdev;
}
