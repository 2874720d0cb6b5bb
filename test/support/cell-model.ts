/** Size of a cell. Several share a block, so that writes of cells are writes of parts of blocks. Bytes. */
export const cellBytes = 128;

/** A write of a run of cells: from now on they may hold it. */
export interface CellWrite {
  version: number;
  firstCell: number;
  numCells: number;
  bytes: Buffer;
  isDone: boolean;
}

/**
 * What clients have written to cells of a volume, and what of it is durable. After a power cut a cell holds the newest durable
 * write, or one that came after that; and of one write some cells may have been kept and others not.
 */
export class CellModel {
  begun = 0;
  readonly numCells: number;
  /** Writes that a cell may hold, oldest first: the newest durable one and what came after it. None: zeros count too. */
  readonly #possible: CellWrite[][];
  readonly #busy = new Set<number>();
  /** Whether zeros, as nothing was written, are possible still. */
  readonly #mayBeEmpty: boolean[];

  constructor(numCells: number) {
    this.numCells = numCells;
    this.#possible = Array.from({ length: numCells }, () => []);
    this.#mayBeEmpty = new Array<boolean>(numCells).fill(true);
  }

  /** A write of these cells; null while another one of some of them is under way: which of the two comes last is not known. */
  begin(firstCell: number, numCells: number): CellWrite | null {
    for (let cell = firstCell; cell < firstCell + numCells; cell++) if (this.#busy.has(cell)) return null;
    const version = ++this.begun;
    const bytes = Buffer.alloc(numCells * cellBytes);
    const write: CellWrite = { version, firstCell, numCells, bytes, isDone: false };
    for (let at = 0; at < numCells; at++) {
      bytes.subarray(at * cellBytes, (at + 1) * cellBytes).set(contents(version, firstCell + at));
      this.#busy.add(firstCell + at);
      this.#possible[firstCell + at]?.push(write);
    }
    return write;
  }

  end(write: CellWrite): void {
    write.isDone = true;
    for (let at = 0; at < write.numCells; at++) this.#busy.delete(write.firstCell + at);
  }

  /** Writes that are acknowledged by now: what a flush that is sent next covers. */
  completed(): CellWrite[] {
    return [...new Set(this.#possible.flat())].filter(({ isDone }) => isDone);
  }

  /** What came before these writes in their cells is no longer possible. */
  makeDurable(writes: readonly CellWrite[]): void {
    for (const write of writes) {
      for (let cell = write.firstCell; cell < write.firstCell + write.numCells; cell++) {
        const possible = this.#possible[cell] ?? [];
        const index = possible.indexOf(write);
        if (index < 0) continue;
        possible.splice(0, index);
        this.#mayBeEmpty[cell] = false;
      }
    }
  }

  /** After a start: what is wrong with the volume's contents; null for nothing. What it holds now is what counts from here on. */
  judge(volume: Buffer): string | null {
    this.#busy.clear();
    for (let cell = 0; cell < this.numCells; cell++) {
      const found = volume.subarray(cell * cellBytes, (cell + 1) * cellBytes);
      const possible = this.#possible[cell] ?? [];
      const write = possible.find(({ version }) => found.equals(contents(version, cell)));
      if (write === undefined && !(this.#mayBeEmpty[cell] === true && found.every((byte) => byte === 0))) {
        const versions = possible.map(({ version }) => version).join(', ');
        return `cell ${cell} holds version ${found.readUInt32LE(0)} (cell ${found.readUInt32LE(4)}), and may hold ${versions}`;
      }
      this.#possible[cell] = write === undefined ? [] : [write];
      this.#mayBeEmpty[cell] = write === undefined;
    }
    return null;
  }
}

function contents(version: number, cell: number): Buffer {
  const bytes = Buffer.alloc(cellBytes);
  for (let at = 0; at < cellBytes; at += 8) {
    bytes.writeUInt32LE(version, at);
    bytes.writeUInt32LE(cell, at + 4);
  }
  return bytes;
}
