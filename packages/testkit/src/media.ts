import { sectorBytes } from './sector.js';

const pageBytes = 64 * 1024;

/** What a range held before it was written, sector by sector. */
export interface Preimage {
  firstSector: number;
  numSectors: number;
  pieces: Piece[];
}

interface Piece {
  page: number;
  /** Within the page. */
  start: number;
  end: number;
  /** The bytes of `start..end`; null: all of them are `fill`. */
  bytes: Uint8Array | null;
  fill: number;
}

/** A device's bytes. Pages that hold one byte over and over take no memory. */
export class Media {
  readonly #pages: (Uint8Array | null)[];
  #fills: Uint8Array;

  constructor(lengthBytes: number, fill: number) {
    const count = Math.ceil(lengthBytes / pageBytes);
    this.#pages = Array.from({ length: count }, () => null);
    this.#fills = new Uint8Array(count).fill(fill);
  }

  get lengthBytes(): number {
    return this.#pages.length * pageBytes;
  }

  clone(): Media {
    const copy = new Media(this.#pages.length * pageBytes, 0);
    copy.restore(this);
    return copy;
  }

  /** Becomes a copy of another of the same size. */
  restore(from: Media): void {
    from.#pages.forEach((page, index) => (this.#pages[index] = page === null ? null : page.slice()));
    this.#fills.set(from.#fills);
  }

  /** Makes room up to this length; what is new reads as zeros. */
  grow(lengthBytes: number): void {
    const count = Math.ceil(lengthBytes / pageBytes);
    while (this.#pages.length < count) this.#pages.push(null);
    if (count <= this.#fills.length) return;
    const fills = new Uint8Array(count);
    fills.set(this.#fills);
    this.#fills = fills;
  }

  read(target: Uint8Array, targetAt: number, at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes; ) {
      const page = Math.floor((at + done) / pageBytes);
      const start = at + done - page * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      const bytes = this.#pages[page] ?? null;
      if (bytes === null) target.fill(this.#fills[page] ?? 0, targetAt + done, targetAt + done + count);
      else target.set(bytes.subarray(start, start + count), targetAt + done);
      done += count;
    }
  }

  write(at: number, source: Uint8Array, sourceAt: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes; ) {
      const page = Math.floor((at + done) / pageBytes);
      const start = at + done - page * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      this.#own(page).set(source.subarray(sourceAt + done, sourceAt + done + count), start);
      done += count;
    }
  }

  zero(at: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes; ) {
      const page = Math.floor((at + done) / pageBytes);
      const start = at + done - page * pageBytes;
      const count = Math.min(pageBytes - start, lengthBytes - done);
      if (count === pageBytes) {
        this.#pages[page] = null;
        this.#fills[page] = 0;
      } else if (this.#pages[page] !== null || this.#fills[page] !== 0) {
        this.#own(page).fill(0, start, start + count);
      }
      done += count;
    }
  }

  /** What a range holds now, to be put back sector by sector. */
  preimage(firstSector: number, numSectors: number): Preimage {
    const pieces: Piece[] = [];
    const end = (firstSector + numSectors) * sectorBytes;
    for (let at = firstSector * sectorBytes; at < end; ) {
      const page = Math.floor(at / pageBytes);
      const start = at - page * pageBytes;
      const stop = Math.min(pageBytes, end - page * pageBytes);
      const bytes = this.#pages[page] ?? null;
      pieces.push({ page, start, end: stop, bytes: bytes === null ? null : bytes.slice(start, stop), fill: this.#fills[page] ?? 0 });
      at = page * pageBytes + stop;
    }
    return { firstSector, numSectors, pieces };
  }

  /** Puts one sector back to what it was. */
  undo(preimage: Preimage, sector: number): void {
    const at = sector * sectorBytes;
    const page = Math.floor(at / pageBytes);
    const start = at - page * pageBytes;
    const piece = preimage.pieces[page - (preimage.pieces[0]?.page ?? 0)];
    if (piece === undefined) throw new RangeError(`sector ${sector} is not in the range`);
    const target = this.#own(page);
    if (piece.bytes === null) target.fill(piece.fill, start, start + sectorBytes);
    else target.set(piece.bytes.subarray(start - piece.start, start - piece.start + sectorBytes), start);
  }

  #own(page: number): Uint8Array {
    let bytes = this.#pages[page] ?? null;
    if (bytes === null) {
      bytes = new Uint8Array(pageBytes).fill(this.#fills[page] ?? 0);
      this.#pages[page] = bytes;
    }
    return bytes;
  }
}
