import { IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, BdevRegistry } from '@raidkit/bdev';
import type { Hoard } from './hoard.js';
import type { VolumeModel, Violation, WriteRecord } from './model.js';
import { fillSectors, sectorBytes } from './sector.js';
import type { World } from './world.js';

/** How a request ended: a status, or {@link died} or {@link notAsked}. */
export type Outcome = Status;
/** The process died before the request completed. */
export const died = -1;
/** No buffer was available for the request. */
export const notAsked = -2;

/** A user of a volume: sends requests, writes data that identifies its place, and checks what it reads against the model. */
export class VolumeClient {
  readonly descriptor: BdevDescriptor;
  readonly #world: World;
  readonly #registry: BdevRegistry;
  readonly #model: VolumeModel;
  readonly #words: Int32Array;
  readonly #mayHold: () => boolean;
  readonly #onViolation: (violation: Violation, what: string) => void;
  /** Returns what holds the buffers during a shortage; null if there is none. */
  hoardOf: () => Hoard | null = () => null;
  readonly #pending = new Set<(outcome: Outcome) => void>();
  #isClosing = false;

  constructor(
    world: World,
    registry: BdevRegistry,
    descriptor: BdevDescriptor,
    model: VolumeModel,
    mayHold: () => boolean,
    onViolation: (violation: Violation, what: string) => void,
  ) {
    this.#world = world;
    this.#registry = registry;
    this.descriptor = descriptor;
    this.#model = model;
    this.#words = new Int32Array(registry.runtime.memory.buffer);
    this.#mayHold = mayHold;
    this.#onViolation = onViolation;
  }

  get blockSize(): number {
    return this.descriptor.bdev.blockSize;
  }

  get numBlocks(): number {
    return this.descriptor.bdev.numBlocks;
  }

  /** Number of requests in flight. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Maximum number of blocks of a request with data. */
  get mostBlocks(): number {
    return Math.floor(this.#registry.buffers.maxBytes / this.blockSize);
  }

  async submit(type: IoType, offsetBlocks: number, numBlocks: number, flags = 0): Promise<Outcome> {
    const perBlock = this.blockSize / sectorBytes;
    const first = offsetBlocks * perBlock;
    const count = numBlocks * perBlock;
    const hasData = type === IoType.Read || type === IoType.Write;
    let addr = hasData ? this.#getBuffer(numBlocks * this.blockSize) : -1;
    if (hasData && addr < 0) return notAsked;
    let write: WriteRecord | null = null;
    let startedAt = 0;
    if (type === IoType.Read) {
      startedAt = this.#model.readStarted();
    } else if (type === IoType.Flush) {
      startedAt = this.#model.now();
    } else {
      const tag = type === IoType.Write ? this.#model.newTag() : 0;
      write = this.#model.issue(first, count, tag, type === IoType.Unmap);
      if (type === IoType.Write) fillSectors(this.#words, addr / 4, first, count, tag);
    }
    const what = `${nameOf(type)} ${offsetBlocks}+${numBlocks}${write === null ? '' : ` tag ${write.tag}`}${(flags & IoFlag.ForceUnitAccess) === 0 ? '' : ' FUA'}`;
    this.#world.trace(what);
    const length = type === IoType.Flush ? this.numBlocks : numBlocks;
    let status = await this.#send(type, offsetBlocks, length, addr, flags);
    // By now the member that timed out has been failed. A read's buffer still belongs to that device, so another one is used.
    const mayTryAgain = status === Status.TimedOut && !this.#isClosing;
    if (mayTryAgain && type === IoType.Read) {
      this.#putBuffer(addr);
      addr = this.#getBuffer(numBlocks * this.blockSize);
      if (addr < 0) {
        this.#model.readEnded();
        return notAsked;
      }
    }
    if (mayTryAgain) status = await this.#send(type, offsetBlocks, length, addr, flags);
    if (status === died) return died;
    this.#world.trace(`${what} -> ${status}`);
    if (type === IoType.Read) {
      const violation =
        status === Status.Ok ? this.#model.check(first, count, this.#words, addr / 4, startedAt, this.#mayHold()) : null;
      this.#model.readEnded();
      if (violation !== null) this.#onViolation(violation, what);
    } else if (write !== null) {
      if (status === Status.Ok) this.#model.acked(write, (flags & IoFlag.ForceUnitAccess) !== 0);
      else this.#model.failed(write);
    } else if (status === Status.Ok) {
      this.#model.flushed(startedAt);
    }
    if (addr >= 0) this.#putBuffer(addr);
    return status;
  }

  #getBuffer(bytes: number): number {
    const addr = this.#registry.buffers.get(bytes);
    return addr >= 0 ? addr : (this.hoardOf()?.take(bytes) ?? -1);
  }

  #putBuffer(addr: number): void {
    const hoard = this.hoardOf();
    if (hoard === null) this.#registry.buffers.put(addr);
    else hoard.put(addr);
  }

  /** Closes the descriptor once everything has completed, because the device is being removed. */
  close(): void {
    this.#isClosing = true;
    if (this.#pending.size === 0) this.descriptor.close();
  }

  /** Ends all requests, because the process is dead. */
  die(): void {
    for (const resolve of this.#pending) resolve(died);
    this.#pending.clear();
  }

  #send(type: IoType, offsetBlocks: number, numBlocks: number, addr: number, flags: number): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#pending.add(resolve);
      const io = this.#registry.ios.get();
      io.type = type;
      io.flags = flags;
      io.offsetBlocks = offsetBlocks;
      io.numBlocks = numBlocks;
      io.addr = addr;
      io.owner = {
        onIoDone: (done: BdevIo) => {
          const { status } = done;
          this.#registry.ios.put(done);
          this.#pending.delete(resolve);
          if (this.#isClosing && this.#pending.size === 0) this.descriptor.close();
          resolve(status);
        },
      };
      this.descriptor.submit(io);
    });
  }
}

function nameOf(type: IoType): string {
  return ['read', 'write', 'unmap', 'flush', 'zero', 'reset'][type] ?? 'io';
}
