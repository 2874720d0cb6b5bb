import { fdatasync, read, write } from 'node:fs';
import { constants } from 'node:os';
import type { Runtime } from '@raidkit/bdev';
import { FallocateMode, loadSys } from '@raidkit/sys';
import type { Sys } from '@raidkit/sys';
import type { EngineOp, IoEngine } from './engine.js';

const { EIO, EOPNOTSUPP } = constants.errno;
const { PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE } = FallocateMode;

/** One operation in flight. Its callback is bound once, and the object is reused. */
class Call {
  op: EngineOp | null = null;
  readonly callback: (error: NodeJS.ErrnoException | null, bytes?: number) => void;
  readonly sysDone: (result: number) => void;

  constructor(onDone: (call: Call, result: number) => void) {
    this.callback = (error, bytes = 0) => onDone(this, error === null ? bytes : (error.errno ?? -EIO));
    this.sysDone = (result) => onDone(this, result);
  }
}

/** Size of Node's thread pool for file I/O: `UV_THREADPOOL_SIZE`, which must be set before the process's first I/O. */
function threadPoolSize(): number {
  const asked = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  return Number.isNaN(asked) ? 4 : Math.min(Math.max(asked, 1), 1024);
}

/**
 * I/O through Node's thread pool, which works everywhere. A device that hangs blocks its threads. It can block at most half of
 * the pool, so a larger pool is needed where several devices may hang at once.
 */
export class PortableEngine implements IoEngine {
  readonly name = 'portable';
  readonly maxInFlightPerDevice: number;
  readonly canDeallocate: boolean;
  readonly #buffer: Uint8Array;
  readonly #sys: Sys | null;
  readonly #idle: Call[] = [];

  /** @param sys `null` to do without system calls of our own. */
  constructor({ memory }: Runtime, sys: Sys | null = loadSys()) {
    this.#buffer = memory.u8;
    this.#sys = sys;
    this.canDeallocate = sys !== null;
    this.maxInFlightPerDevice = Math.max(1, Math.floor(threadPoolSize() / 2));
  }

  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    read(fd, this.#buffer, addr, lengthBytes, offsetBytes, this.#callFor(op).callback);
  }

  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    write(fd, this.#buffer, addr, lengthBytes, offsetBytes, this.#callFor(op).callback);
  }

  flush(fd: number, op: EngineOp): void {
    fdatasync(fd, this.#callFor(op).callback);
  }

  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    const call = this.#callFor(op);
    if (this.#sys === null) this.#refuse(call);
    else this.#sys.fallocateAsync(fd, PUNCH_HOLE | KEEP_SIZE, offsetBytes, lengthBytes, call.sysDone);
  }

  writeZeroes(fd: number, isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    const call = this.#callFor(op);
    if (this.#sys === null) this.#refuse(call);
    else if (isBlockDevice) this.#sys.zeroOutAsync(fd, offsetBytes, lengthBytes, call.sysDone);
    else this.#sys.fallocateAsync(fd, ZERO_RANGE | KEEP_SIZE, offsetBytes, lengthBytes, call.sysDone);
  }

  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    const call = this.#callFor(op);
    if (this.#sys === null) this.#refuse(call);
    else this.#sys.discardAsync(fd, offsetBytes, lengthBytes, call.sysDone);
  }

  #callFor(op: EngineOp): Call {
    const call = this.#idle.pop() ?? new Call(this.#onDone);
    call.op = op;
    return call;
  }

  #refuse(call: Call): void {
    setImmediate(call.sysDone, -EOPNOTSUPP);
  }

  readonly #onDone = (call: Call, result: number): void => {
    const { op } = call;
    call.op = null;
    this.#idle.push(call);
    op?.onEngineDone(result);
  };
}
