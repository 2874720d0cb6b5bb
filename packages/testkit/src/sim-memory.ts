import { BufferMemory } from '@raidkit/parity';

/** A memory that one simulated process after another can use, because making a new WebAssembly memory is slow. */
export class SimMemory extends BufferMemory {
  readonly #regions = new Set<number>();
  readonly #pins: number[] = [];
  readonly #bytes: number;
  /** End address of the memory that was ever allocated. */
  #usedTo = 0;
  #aside: SimMemory | null = null;

  constructor(options: { bytes: number }) {
    super(options);
    this.#bytes = options.bytes;
  }

  /** Another memory, for processes that run while this one is in use. */
  get aside(): SimMemory {
    this.#aside ??= new SimMemory({ bytes: this.#bytes });
    return this.#aside;
  }

  override allocRegion(bytes: number): number {
    const addr = super.allocRegion(bytes);
    if (addr < 0) return addr;
    this.#regions.add(addr);
    this.#usedTo = Math.max(this.#usedTo, addr + bytes);
    return addr;
  }

  override freeRegion(addr: number): void {
    super.freeRegion(addr);
    this.#regions.delete(addr);
  }

  override pin(addr: number): void {
    super.pin(addr);
    this.#pins.push(addr);
  }

  override unpin(addr: number): void {
    super.unpin(addr);
    const index = this.#pins.indexOf(addr);
    if (index >= 0) this.#pins.splice(index, 1);
  }

  /** Frees everything, because the process that used it is dead. */
  reset(): void {
    for (const addr of this.#pins.splice(0)) super.unpin(addr);
    for (const addr of this.#regions) super.freeRegion(addr);
    this.#regions.clear();
  }

  /** Zeroes the memory, so that the next process sees nothing of earlier ones. Nothing may be allocated. */
  wipe(): void {
    const from = this.zeroAddr + this.zeroBytes;
    if (this.#usedTo > from) this.zero(from, this.#usedTo - from);
    this.#usedTo = 0;
  }
}
