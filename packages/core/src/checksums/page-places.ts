import { Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo, IoOwner } from '@raidkit/bdev';

/** A page write that goes to two places in turn. It is pooled, and takes the place of the write's owner. */
class DoubledWrite implements IoOwner {
  page = -1;
  /** The second place, in blocks of the device. */
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
 * Places of the pages of one device's checksums, in blocks of the device. While pages move, each write goes to the old and to
 * the new place, so that both are valid whichever is on record; reads use the old place.
 */
export class PagePlaces {
  readonly #descriptor: BdevDescriptor;
  readonly #pageBlocks: number;
  #at: number;
  #to = -1;
  /** A bit for each page that has been written completely at the new place. */
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

  /** Submits the I/O, of which all fields except offset and size are set. */
  submit(io: BdevIo, page: number, isWrite: boolean): void {
    io.numBlocks = this.#pageBlocks;
    io.offsetBlocks = this.#at + page * this.#pageBlocks;
    if (isWrite && this.#to >= 0) this.#double(io, page);
    this.#descriptor.submit(io);
  }

  /** Begins to write all pages to a new place too. The caller must then write all `numPages` pages. */
  beginMove(to: number, numPages: number): void {
    this.#to = to;
    this.#moved = new Uint8Array(Math.ceil(numPages / 8));
  }

  hasMoved(page: number): boolean {
    return ((this.#moved[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  /** The new place becomes the only one. Resolves when no write to the old place is in flight; none begins afterwards. */
  endMove(): Promise<void> {
    this.#at = this.#to;
    return this.#endDoubling();
  }

  /** The pages stay at the old place. Resolves when no write to the new place is in flight; none begins afterwards. */
  cancelMove(): Promise<void> {
    return this.#endDoubling();
  }

  /** For {@link DoubledWrite}: the write to one of the places has ended, successfully or not. */
  onHalfWritten(half: DoubledWrite, io: BdevIo): void {
    const { owner, page } = half;
    if (owner === null) throw new Error('a page without an owner was written');
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
