import { sectorBytes } from './sector.js';

const pageBytes = 16 * 1024;

/** Contents of a range before it was written, to be restored sector by sector. */
export interface Preimage {
  firstSector: number;
  numSectors: number;
  pieces: Piece[];
}

interface Piece {
  page: number;
  /** Byte range within the page. */
  start: number;
  end: number;
  /** The bytes of `start..end`; null if all of them are `fill`. */
  bytes: Uint8Array | null;
  fill: number;
}

interface Page {
  /** The page's bytes; null if all of them are `fill`. */
  bytes: Uint8Array | null;
  fill: number;
  /** The media that may change the page in place; null if it is shared with copies. */
  owner: Media | null;
}

/**
 * The contents of a device. Untouched pages take no memory, so a device can be as large as a real one; copies share pages until
 * one of them writes there.
 */
export class Media {
  readonly #pages = new Map<number, Page>();
  readonly #fill: number;
  /** From this page on, untouched pages read as zeros. */
  #filledPages: number;
  #numPages: number;

  constructor(lengthBytes: number, fill: number) {
    this.#numPages = Math.ceil(lengthBytes / pageBytes);
    this.#filledPages = this.#numPages;
    this.#fill = fill;
  }

  get lengthBytes(): number {
    return this.#numPages * pageBytes;
  }

  clone(): Media {
    const copy = new Media(this.lengthBytes, this.#fill);
    copy.restore(this);
    return copy;
  }

  /** Becomes a copy of other media of the same kind, but keeps its own length if that has grown. */
  restore(from: Media): void {
    for (const page of from.#pages.values()) page.owner = null;
    this.#pages.clear();
    for (const [index, page] of from.#pages) this.#pages.set(index, page);
    this.#filledPages = from.#filledPages;
    this.#numPages = Math.max(this.#numPages, from.#numPages);
  }

  /** Grows to this length; the new part reads as zeros. */
  grow(lengthBytes: number): void {
    this.#numPages = Math.max(this.#numPages, Math.ceil(lengthBytes / pageBytes));
  }

  read(target: Uint8Array, targetAt: number, at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const index = Math.floor((at + done) / pageBytes);
      const start = at + done - index * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      const page = this.#pages.get(index);
      if (page === undefined || page.bytes === null)
        target.fill(this.#fillOf(index, page), targetAt + done, targetAt + done + count);
      else target.set(page.bytes.subarray(start, start + count), targetAt + done);
      done += count;
    }
  }

  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const index = Math.floor((at + done) / pageBytes);
      const start = at + done - index * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      this.#own(index).set(source.subarray(sourceAt + done, sourceAt + done + count), start);
      done += count;
    }
  }

  zero(at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const index = Math.floor((at + done) / pageBytes);
      const start = at + done - index * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      const page = this.#pages.get(index);
      if (count === pageBytes) this.#pages.set(index, { bytes: null, fill: 0, owner: this });
      else if ((page?.bytes ?? null) !== null || this.#fillOf(index, page) !== 0)
        this.#own(index).fill(0, start, start + count);
      done += count;
    }
  }

  /** Records what a range holds, to be restored sector by sector. */
  preimage(firstSector: number, numSectors: number): Preimage {
    const pieces: Piece[] = [];
    const end = (firstSector + numSectors) * sectorBytes;
    for (let at = firstSector * sectorBytes; at < end;) {
      const index = Math.floor(at / pageBytes);
      const start = at - index * pageBytes;
      const stop = Math.min(pageBytes, end - index * pageBytes);
      const page = this.#pages.get(index);
      pieces.push({
        page: index,
        start,
        end: stop,
        bytes: page?.bytes?.slice(start, stop) ?? null,
        fill: this.#fillOf(index, page),
      });
      at = index * pageBytes + stop;
    }
    return { firstSector, numSectors, pieces };
  }

  /** Restores one sector. */
  undo(preimage: Preimage, sector: number): void {
    const at = sector * sectorBytes;
    const index = Math.floor(at / pageBytes);
    const start = at - index * pageBytes;
    const piece = preimage.pieces[index - (preimage.pieces[0]?.page ?? 0)];
    if (piece === undefined) throw new RangeError(`sector ${sector} is not in the range`);
    const target = this.#own(index);
    if (piece.bytes === null) target.fill(piece.fill, start, start + sectorBytes);
    else target.set(piece.bytes.subarray(start - piece.start, start - piece.start + sectorBytes), start);
  }

  #fillOf(index: number, page: Page | undefined): number {
    return page?.fill ?? (index < this.#filledPages ? this.#fill : 0);
  }

  #own(index: number): Uint8Array {
    const page = this.#pages.get(index);
    if (page?.owner === this && page.bytes !== null) return page.bytes;
    const bytes = page?.bytes?.slice() ?? new Uint8Array(pageBytes).fill(this.#fillOf(index, page));
    this.#pages.set(index, { bytes, fill: 0, owner: this });
    return bytes;
  }
}
