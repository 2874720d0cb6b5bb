import * as fs from 'node:fs';
import type { EngineOp, IoEngine } from '@raidkit/backend-linux';

const sectorBytes = 512;

/** A change of a file that no fdatasync(2) has covered yet. */
interface Change {
  fd: number;
  offsetBytes: number;
  /** What was there before. */
  before: Buffer;
  isDone: boolean;
}

/**
 * A real engine whose files lose, in a power cut, what was written and not synchronised: each sector by itself is kept or
 * lost. It sits between the driver and the engine, so that durability is judged by what reached the files, not by calls.
 * Not for operations of two clients on the same sector at the same time: the layers above keep these apart.
 */
export class VolatileEngine implements IoEngine {
  readonly name: string;
  readonly maxInFlightPerDevice: number;
  readonly canDeallocate: boolean;
  /** A planted fault: a flush is answered without being done. */
  isLying = false;
  readonly #inner: IoEngine;
  /** Our own descriptors, without O_DIRECT, by the driver's. */
  readonly #plain = new Map<number, number>();
  #changes: Change[] = [];
  #inFlight = 0;
  #isCut = false;
  /** Operations that the power cut has caught: they are never answered, until the test takes everything down. */
  #caught: EngineOp[] = [];
  #onIdle: (() => void) | null = null;

  constructor(inner: IoEngine) {
    this.#inner = inner;
    this.name = inner.name;
    this.maxInFlightPerDevice = inner.maxInFlightPerDevice;
    this.canDeallocate = inner.canDeallocate;
  }

  opened(fd: number, isDirect: boolean): void {
    this.#plain.set(fd, fs.openSync(`/proc/self/fd/${fd}`, 'r+'));
    this.#inner.opened?.(fd, isDirect);
  }

  closing(fd: number): void {
    fs.closeSync(this.#plainOf(fd));
    this.#plain.delete(fd);
    this.#inner.closing?.(fd);
  }

  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#run(op, null, (wrapped) => this.#inner.read(fd, addr, lengthBytes, offsetBytes, wrapped));
  }

  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#change(fd, offsetBytes, lengthBytes, op, (wrapped) => this.#inner.write(fd, addr, lengthBytes, offsetBytes, wrapped));
  }

  flush(fd: number, op: EngineOp): void {
    const covered = new Set(this.#changes.filter((change) => change.fd === fd && change.isDone));
    if (this.isLying) {
      setImmediate(() => this.#answer(op, 0));
      return;
    }
    this.#run(
      op,
      (result) => {
        if (result === 0) this.#changes = this.#changes.filter((change) => !covered.has(change));
      },
      (wrapped) => this.#inner.flush(fd, wrapped),
    );
  }

  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#change(fd, offsetBytes, lengthBytes, op, (wrapped) => this.#inner.punchHole(fd, offsetBytes, lengthBytes, wrapped));
  }

  writeZeroes(fd: number, isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#change(fd, offsetBytes, lengthBytes, op, (wrapped) =>
      this.#inner.writeZeroes(fd, isBlockDevice, offsetBytes, lengthBytes, wrapped),
    );
  }

  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#change(fd, offsetBytes, lengthBytes, op, (wrapped) => this.#inner.discard(fd, offsetBytes, lengthBytes, wrapped));
  }

  /**
   * The power fails: from now on nothing is answered. Resolves when the files are as the cut has left them; `isKept` is asked
   * for each sector of each change that was not synchronised, the newest first.
   */
  async cut(isKept: () => boolean): Promise<void> {
    this.#isCut = true;
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    const settled = new Set<string>();
    for (const { fd, offsetBytes, before } of this.#changes.reverse()) {
      for (let at = 0; at < before.length; at += sectorBytes) {
        const sector = `${fd} ${offsetBytes + at}`;
        if (settled.has(sector)) continue;
        if (isKept()) settled.add(sector);
        else fs.writeSync(this.#plainOf(fd), before, at, Math.min(sectorBytes, before.length - at), offsetBytes + at);
      }
    }
  }

  /** The test takes down what the cut has left: everything is answered with EIO from now on. */
  release(): void {
    for (const op of this.#caught.splice(0)) setImmediate(() => op.onEngineDone(-5));
    this.#caught = [];
    this.#onCaught = (op) => void setImmediate(() => op.onEngineDone(-5));
  }

  #onCaught = (op: EngineOp): void => void this.#caught.push(op);

  #change(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp, start: (wrapped: EngineOp) => void): void {
    if (this.#isCut) {
      this.#onCaught(op);
      return;
    }
    const before = Buffer.alloc(lengthBytes);
    fs.readSync(this.#plainOf(fd), before, 0, lengthBytes, offsetBytes);
    const change: Change = { fd, offsetBytes, before, isDone: false };
    this.#changes.push(change);
    this.#run(op, () => (change.isDone = true), start);
  }

  #run(op: EngineOp, onDone: ((result: number) => void) | null, start: (wrapped: EngineOp) => void): void {
    if (this.#isCut) {
      this.#onCaught(op);
      return;
    }
    this.#inFlight++;
    start({
      onEngineDone: (result) => {
        this.#inFlight--;
        onDone?.(result);
        this.#answer(op, result);
        if (this.#inFlight === 0) this.#onIdle?.();
      },
    });
  }

  #answer(op: EngineOp, result: number): void {
    if (this.#isCut) this.#onCaught(op);
    else op.onEngineDone(result);
  }

  #plainOf(fd: number): number {
    const plain = this.#plain.get(fd);
    if (plain === undefined) throw new Error(`the engine was not told of descriptor ${fd}`);
    return plain;
  }
}
