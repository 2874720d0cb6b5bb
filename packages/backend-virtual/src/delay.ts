import { Bdev, BdevError, IoType, Status } from '@raidkit/bdev';
import type { BdevDriver, BdevIo, BdevRegistry, IoOwner, JsonObject, Runtime } from '@raidkit/bdev';
import { BaseLink } from './base-link.js';
import { derivedUuid, givenUuid } from './uuid.js';

/** SPDK's namespace for this kind of device, so that both derive the same uuid from the same base. */
const uuidNamespace = '4009b574-6430-4f1b-bc40-ace811091027';

/** One read and one write in this many has the longer delay. */
const p99Every = 100;

/** Delays in microseconds that are added to completions of the base. */
export interface DelayLatencies {
  avgReadUs: number;
  /** Delay of one read in a hundred; not below `avgReadUs`. */
  p99ReadUs: number;
  avgWriteUs: number;
  /** Delay of one write in a hundred; not below `avgWriteUs`. */
  p99WriteUs: number;
}

/** Options of {@link createDelayBdev}. */
export interface DelayOptions extends DelayLatencies {
  baseBdevName: string;
  name: string;
  /** Default, also for the nil uuid: derived from the base's uuid, the same each time. */
  uuid?: string;
}

class DelayDriver implements BdevDriver, IoOwner {
  readonly kind = 'delay';
  readonly productName = 'delay';
  /** The base's bdev layer takes care of forced unit access. */
  readonly hasForceUnitAccess = true;
  readonly #runtime: Runtime;
  readonly #link: BaseLink;
  readonly #name: string;
  readonly #uuid: string;
  readonly #latencies: DelayLatencies;
  #reads = 0;
  #writes = 0;

  constructor(runtime: Runtime, link: BaseLink, options: DelayOptions, uuid: string) {
    const { name, avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs } = options;
    this.#runtime = runtime;
    this.#link = link;
    this.#name = name;
    this.#uuid = uuid;
    this.#latencies = { avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs };
  }

  supports(type: IoType): boolean {
    return this.#link.base.supports(type);
  }

  submit(io: BdevIo): void {
    this.#link.send(this.#link.copyOf(io, this));
  }

  onIoDone(child: BdevIo): void {
    const { status } = child;
    const io = this.#link.done(child);
    const delayUs = this.#delayUs(io.type);
    if (delayUs === 0) io.complete(status);
    else this.#runtime.setTimer(() => io.complete(status), delayUs / 1000);
  }

  destroy(): void {
    this.#link.release();
  }

  physicalDevices(): readonly string[] {
    return this.#link.base.driver.physicalDevices?.() ?? [];
  }

  driverSpecific(): JsonObject {
    return { delay: this.#values() };
  }

  configCall(): { method: string; params: JsonObject } {
    return { method: 'bdev_delay_create', params: this.#values() };
  }

  /** Sets the given latencies. An average must not exceed its p99: if only one of the two is given, the other is adjusted. */
  setLatencies(given: Partial<DelayLatencies>): void {
    const now = { ...this.#latencies, ...given };
    checkTimes(this.#name, now);
    for (const [avg, p99] of [
      ['avgReadUs', 'p99ReadUs'],
      ['avgWriteUs', 'p99WriteUs'],
    ] as const) {
      if (now[p99] >= now[avg]) continue;
      if (given[p99] === undefined) now[p99] = now[avg];
      else now[avg] = now[p99];
    }
    Object.assign(this.#latencies, now);
  }

  #delayUs(type: IoType): number {
    const { avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs } = this.#latencies;
    if (type === IoType.Read) return ++this.#reads % p99Every === 0 ? p99ReadUs : avgReadUs;
    // If the base lacks write zeroes, its layer writes zeros, so they take as long as writes.
    const isWrite = type === IoType.Write || type === IoType.WriteZeroes;
    if (isWrite) return ++this.#writes % p99Every === 0 ? p99WriteUs : avgWriteUs;
    return 0;
  }

  #values(): JsonObject {
    return {
      name: this.#name,
      base_bdev_name: this.#link.base.name,
      uuid: this.#uuid,
      avg_read_latency: this.#latencies.avgReadUs,
      p99_read_latency: this.#latencies.p99ReadUs,
      avg_write_latency: this.#latencies.avgWriteUs,
      p99_write_latency: this.#latencies.p99WriteUs,
    };
  }
}

/**
 * Creates a device that slows down another one, which it claims. Otherwise as `createPassthruBdev`; EINVAL also for bad
 * latencies.
 */
export async function createDelayBdev(registry: BdevRegistry, options: DelayOptions): Promise<Bdev> {
  const { baseBdevName, name } = options;
  checkLatencies(options);
  const given = givenUuid(options.uuid);
  const link = new BaseLink(registry, baseBdevName, `delay ${name}`);
  const { base } = link;
  const uuid = given ?? derivedUuid(uuidNamespace, base.uuid);
  const { blockSize, numBlocks, optimalIoBoundary, writeUnitSize } = base;
  const driver = new DelayDriver(registry.runtime, link, options, uuid);
  const bdev = new Bdev({ name, uuid, blockSize, numBlocks, optimalIoBoundary, writeUnitSize, driver });
  await link.register(bdev);
  return bdev;
}

/**
 * Sets some latencies of a delay bdev, effective from the next completion. Throws a `BdevError`: ENODEV if it is not one,
 * EINVAL.
 */
export function setDelay(bdev: Bdev, latencies: Partial<DelayLatencies>): void {
  if (!(bdev.driver instanceof DelayDriver))
    throw new BdevError('ERR_BDEV_NOT_FOUND', Status.NoDevice, `bdev ${bdev.name} is no delay bdev`);
  bdev.driver.setLatencies(latencies);
}

function checkLatencies(options: DelayOptions): void {
  const { name, avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs } = options;
  checkTimes(name, options);
  if (p99ReadUs >= avgReadUs && p99WriteUs >= avgWriteUs) return;
  throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `delay bdev ${name}: a p99 must not be below its average`);
}

function checkTimes(name: string, { avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs }: DelayLatencies): void {
  // A timer of 2^31 ms or more would fire at once.
  if ([avgReadUs, p99ReadUs, avgWriteUs, p99WriteUs].every((us) => us >= 0 && us < 2 ** 31 * 1000)) return;
  const message = `delay bdev ${name}: latencies are microseconds from 0 to 2^31 ms`;
  throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
}
