import { RangeLocks, Status, raidApiVersion } from '@raidkit/core';
import type {
  AnyWriteRequest,
  JournalRange,
  JournaledLevel,
  JournaledModule,
  ProcessRequest,
  ReadRequest,
  RedundantContext,
  RedundantGeometry,
  RwRequest,
} from '@raidkit/core';
import { BufferPool } from '@raidkit/parity';

/** What slots 0 to 3 hold of the two blocks of a stripe: a, b, a + b, a + 2b, in GF(2^8). */
const rows = [
  [1, 0],
  [0, 1],
  [1, 1],
  [1, 2],
] as const;
const dataSlots = 2;

function times(a: number, b: number): number {
  let product = 0;
  for (let x = a, y = b; y > 0; y >>= 1) {
    if ((y & 1) !== 0) product ^= x;
    x = x < 128 ? x << 1 : (x << 1) ^ 0x11d;
  }
  return product;
}

function inverse(a: number): number {
  let power = a;
  for (let i = 0; i < 6; i++) power = times(times(power, power), a);
  return times(power, power);
}

const table = Array.from({ length: 256 }, (_, a) => Uint8Array.from({ length: 256 }, (__, b) => times(a, b)));

type Any = RwRequest | ProcessRequest;

/** Slots with data that have to be known: what is read, or, as all of a stripe is written, what is not. */
function neededOf(request: Any): readonly number[] {
  if (request.kind === 'reconstruct') return [0, 1];
  const slot = request.offsetBlocks % dataSlots;
  return [request.kind === 'read' ? slot : 1 - slot];
}

/**
 * Four members, two blocks of data a stripe and two parities, which do not move: any two members say everything. Each request
 * reads all members that are there and works on what comes of it, one block at a time. Nothing is optimised.
 */
class TwoParities implements JournaledLevel {
  readonly #context: RedundantContext;
  readonly #locks = new RangeLocks();
  readonly #pool: BufferPool;
  /** By the address of the buffer, which is in `request.a`: slots that were read. */
  readonly #known = new Map<number, number[]>();

  constructor(context: RedundantContext) {
    this.#context = context;
    this.#pool = new BufferPool(context.memory, { slotBytes: rows.length * context.blockSize, count: 64 });
  }

  resize(capacities: readonly number[]): RedundantGeometry {
    const memberBlocks = Math.min(...capacities);
    return {
      numBlocks: memberBlocks * dataSlots,
      memberBlocks: capacities.map(() => memberBlocks),
      optimalIoBoundary: 1,
      splitOnBoundary: true,
      writeUnitSize: 1,
      splitOnWriteUnit: true,
      stripe: { arrayBlocks: dataSlots, memberBlocks: 1 },
    };
  }

  redundantSlots(): readonly number[] {
    return [2, 3];
  }

  stop(): void {
    this.#pool.close();
  }

  submitRw(request: RwRequest): void {
    const stripe = Math.floor(request.offsetBlocks / dataSlots);
    request.b = stripe;
    request.c = 0;
    const mode = request.kind === 'read' ? 'shared' : 'exclusive';
    request.lock(this.#locks, stripe, stripe + 1, mode, this.#begin);
  }

  submitProcessRequest(request: ProcessRequest): void {
    request.b = request.offsetBlocks;
    request.c = 0;
    this.#begin(request);
  }

  onJournaled(request: AnyWriteRequest, status: Status): void {
    if (status === Status.Ok && request.kind === 'write') this.#write(request);
    else this.#end(request, Status.IoError);
  }

  readonly #begin = (request: Any): void => {
    request.a = this.#pool.get();
    if (request.a < 0) request.fail(Status.NoMemory);
    else this.#readAll(request);
  };

  #readAll(request: Any): void {
    const slots = rows.map((_, slot) => slot).filter((slot) => request.hasMember(slot));
    request.forgetUnreadable();
    this.#known.set(request.a, slots);
    request.andThen(this.#onRead);
    for (const slot of slots) request.readPart(slot, request.b, 1, this.#addrOf(request, slot));
  }

  readonly #onRead = (request: Any): void => {
    const known = (this.#known.get(request.a) ?? []).filter((slot) => !request.unreadable.includes(slot));
    const isDoubtful = this.#context.isInconsistent(request.b, 1);
    // A member's own word, and what is worked out from data alone, need no proof.
    const hasData = neededOf(request).every((slot) => known.includes(slot));
    const isProven = this.#solve(request, known) && known.length > dataSlots;
    if (known.length < dataSlots || (isDoubtful && !hasData && !isProven)) {
      this.#end(request, Status.IoError);
      return;
    }
    if (request.kind === 'write') this.#change(request);
    else if (request.kind === 'read') this.#answer(request);
    else this.#fill(request);
  };

  #answer(request: ReadRequest): void {
    const { blockSize, memory } = this.#context;
    const from = this.#addrOf(request, request.offsetBlocks % dataSlots);
    memory.u8.copyWithin(request.addr, from, from + blockSize);
    this.#end(request, Status.Ok);
  }

  #fill(request: ProcessRequest): void {
    const { blockSize, memory } = this.#context;
    request.slots.forEach((slot, index) => {
      const from = this.#addrOf(request, slot);
      memory.u8.copyWithin((request.addrs[index] ?? -1) + request.c * blockSize, from, from + blockSize);
    });
    request.b++;
    request.c++;
    if (request.c < request.numBlocks) this.#readAll(request);
    else this.#end(request, Status.Ok);
  }

  /** The stripe is all known: with the new block, and parities to go with it. */
  #change(request: AnyWriteRequest & { kind: 'write' }): void {
    const { blockSize, memory } = this.#context;
    memory.u8.copyWithin(this.#addrOf(request, request.offsetBlocks % dataSlots), request.addr, request.addr + blockSize);
    this.#solve(request, [0, 1]);
    const ranges = request.journalSlots
      .filter((slot) => slot < dataSlots)
      .map((slot): JournalRange => {
        return { offsetBlocks: request.b * dataSlots + slot, numBlocks: 1, addr: this.#addrOf(request, slot) };
      });
    if (ranges.length > 0) request.journal(ranges);
    else this.#write(request);
  }

  #write(request: AnyWriteRequest): void {
    request.andThen(this.#onWritten);
    for (const slot of [request.offsetBlocks % dataSlots, 2, 3])
      if (request.hasMember(slot)) request.writePart(slot, request.b, 1, this.#addrOf(request, slot));
  }

  readonly #onWritten = (request: AnyWriteRequest): void => {
    if (request.failed.length > 0) this.#context.markInconsistent(request.b, 1);
    this.#give(request);
    request.end();
  };

  /** Fills the buffer with what all slots hold, as the first two of these say. False if others disagree. */
  #solve(request: Any | AnyWriteRequest, known: readonly number[]): boolean {
    const [first, second] = known;
    if (first === undefined || second === undefined) return false;
    const { blockSize, memory } = this.#context;
    const [p, q] = rows[first]!;
    const [r, s] = rows[second]!;
    const scale = table[inverse(table[p]![s]! ^ table[q]![r]!)]!;
    const { u8 } = memory;
    let isSame = true;
    for (let i = 0; i < blockSize; i++) {
      const x = u8[this.#addrOf(request, first) + i]!;
      const y = u8[this.#addrOf(request, second) + i]!;
      const a = scale[table[s]![x]! ^ table[q]![y]!]!;
      const b = scale[table[r]![x]! ^ table[p]![y]!]!;
      rows.forEach(([ofA, ofB], slot) => {
        const at = this.#addrOf(request, slot) + i;
        const value = table[ofA]![a]! ^ table[ofB]![b]!;
        if (known.includes(slot) && u8[at] !== value) isSame = false;
        u8[at] = value;
      });
    }
    return isSame;
  }

  #end(request: Any | AnyWriteRequest, status: Status): void {
    this.#give(request);
    if (status === Status.Ok) request.end();
    else request.fail(status);
  }

  #give(request: Any | AnyWriteRequest): void {
    this.#known.delete(request.a);
    this.#pool.put(request.a);
  }

  #addrOf(request: { readonly a: number }, slot: number): number {
    return request.a + slot * this.#context.blockSize;
  }
}

/** A level that two of four members are enough for, with a journal. */
export const twoParities: JournaledModule = {
  level: 'two-parities',
  aliases: [],
  code: 0x1250,
  apiVersion: raidApiVersion,
  manifest: { stripSize: 'none', nullPayload: false, resize: false },
  redundancy: 'parity',
  maxMissing: 2,
  journal: true,
  baseBdevsMin: 4,
  acceptsSlots: (numSlots) => numSlots === 4,
  start: (context) => new TwoParities(context),
};
