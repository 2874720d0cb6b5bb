import { Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, IoOwner } from '@raidkit/bdev';

/** A write of a page that goes to one place after the other. Pooled; it stands in for the write's owner. */
class DoubledWrite implements IoOwner {
  page = -1;
  /** Where the other place is. Blocks of the device. */
  second = -1;
  owner: IoOwner | null = null;
  isAtSecond = false;
  readonly #places: PagePlaces;

  constructor(places: PagePlaces) {
    this.#places = places;
  }

  onIoDone(io: BdevIo): void {
    this.#places.onHalfWritten(this, io);
  }
}

/**
 * Where the pages of one device's sums lie. While they move, all that is written goes to the old and to the new place, so that each
 * of the two is what counts whichever is on record; what is read comes from the old one. Places in blocks of the device.
 */
export class PagePlaces {
  readonly #descriptor: BdevDescriptor;
  readonly #pageBlocks: number;
  #at: number;
  #to = -1;
  /** A bit for each page that is at the new place as a whole. */
  #moved = new Uint8Array(0);
  #inFlight = 0;
  #onIdle: (() => void)[] = [];
  readonly #idle: DoubledWrite[] = [];

  constructor(descriptor: BdevDescriptor, at: number, pageBlocks: number) {
    this.#descriptor = descriptor;
    this.#pageBlocks = pageBlocks;
    this.#at = at;
  }

  get isMoving(): boolean {
    return this.#to >= 0;
  }

  /** Begins the I/O, of which all but place and size is set. */
  submit(io: BdevIo, page: number, isWrite: boolean): void {
    io.numBlocks = this.#pageBlocks;
    io.offsetBlocks = this.#at + page * this.#pageBlocks;
    if (isWrite && this.#to >= 0) this.#double(io, page);
    this.#descriptor.submit(io);
  }

  /** From now on all of so many pages is to be written anew. */
  beginMove(to: number, numPages: number): void {
    this.#to = to;
    this.#moved = new Uint8Array(Math.ceil(numPages / 8));
  }

  hasMoved(page: number): boolean {
    return ((this.#moved[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  /** The pages are at the new place alone. Resolves when nothing of theirs will be written to the old one any more. */
  endMove(): Promise<void> {
    this.#at = this.#to;
    return this.#endDoubling();
  }

  /** The pages stay where they are. Resolves when nothing of theirs will be written to the new place any more. */
  cancelMove(): Promise<void> {
    return this.#endDoubling();
  }

  /** For {@link DoubledWrite}: it is written at one of its places, or could not be. */
  onHalfWritten(half: DoubledWrite, io: BdevIo): void {
    const { owner, page } = half;
    if (owner === null) throw new Error('a page was written that has no owner');
    if (io.status === Status.Ok && !half.isAtSecond) {
      half.isAtSecond = true;
      io.offsetBlocks = half.second;
      this.#descriptor.submit(io);
      return;
    }
    if (io.status === Status.Ok && this.isMoving) this.#moved[page >> 3] = (this.#moved[page >> 3] ?? 0) | (1 << (page & 7));
    half.owner = null;
    this.#idle.push(half);
    io.owner = owner;
    if (--this.#inFlight === 0) {
      const waiting = this.#onIdle;
      this.#onIdle = [];
      for (const resolve of waiting) resolve();
    }
    owner.onIoDone(io);
  }

  #double(io: BdevIo, page: number): void {
    const half = this.#idle.pop() ?? new DoubledWrite(this);
    half.page = page;
    half.second = this.#to + page * this.#pageBlocks;
    half.owner = io.owner;
    half.isAtSecond = false;
    io.owner = half;
    this.#inFlight++;
  }

  async #endDoubling(): Promise<void> {
    this.#to = -1;
    this.#moved = new Uint8Array(0);
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }
}
