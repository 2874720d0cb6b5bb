import { constants } from 'node:os';
import type { Runtime } from '@raidkit/bdev';
import { FallocateMode, RingOp, loadSys, ringFsyncDataSync, whyNoSys } from '@raidkit/sys';
import type { Ring, RingOwner } from '@raidkit/sys';
import type { EngineOp, IoEngine } from './engine.js';
import { FixedBuffers } from './fixed-buffers.js';

const { EOPNOTSUPP } = constants.errno;
const { PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE } = FallocateMode;

/** I/O through the io_uring of the runtime's thread, without another thread, a copy, or an object per operation. */
export class RingEngine implements IoEngine, RingOwner {
  readonly name = 'uring';
  readonly maxInFlightPerDevice = 512;
  readonly canDeallocate = true;
  readonly #ring: Ring;
  readonly #owner: number;
  readonly #runtime: Runtime;
  /** Address of the runtime's memory in the process. */
  readonly #memoryAddr: number;
  readonly #fixedBuffers: FixedBuffers;
  /** By descriptor: whether it bypasses the page cache. Only then do fixed buffers help. */
  readonly #isDirect: boolean[] = [];
  /** Operations in flight, by tag. */
  readonly #ops: (EngineOp | null)[] = [];
  readonly #freeTags: number[] = [];

  /** @param ring the ring of the thread that the runtime belongs to. */
  constructor(runtime: Runtime, ring: Ring) {
    const sys = loadSys();
    if (sys === null) throw new Error(whyNoSys());
    this.#runtime = runtime;
    this.#ring = ring;
    this.#owner = ring.addOwner(this);
    this.#memoryAddr = sys.addressOf(runtime.memory.u8);
    this.#fixedBuffers = new FixedBuffers(ring, this.#memoryAddr, runtime.memory.bytes);
  }

  opened(fd: number, isDirect: boolean): void {
    // An array with holes would be slow to index.
    while (this.#isDirect.length < fd) this.#isDirect.push(false);
    this.#isDirect[fd] = isDirect;
    this.#ring.registerFile(fd);
  }

  closing(fd: number): void {
    this.#ring.unregisterFile(fd);
  }

  read(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#transfer(RingOp.READ, RingOp.READ_FIXED, fd, addr, lengthBytes, offsetBytes, op);
  }

  write(fd: number, addr: number, lengthBytes: number, offsetBytes: number, op: EngineOp): void {
    this.#transfer(RingOp.WRITE, RingOp.WRITE_FIXED, fd, addr, lengthBytes, offsetBytes, op);
  }

  flush(fd: number, op: EngineOp): void {
    this.#ring.prepare(RingOp.FSYNC, fd, 0, 0, 0, ringFsyncDataSync, this.#owner, this.#tagFor(op));
  }

  punchHole(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offsetBytes, lengthBytes, op);
  }

  /** On a block device, fallocate(2) does the same as BLKZEROOUT. */
  writeZeroes(fd: number, _isBlockDevice: boolean, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#fallocate(fd, ZERO_RANGE | KEEP_SIZE, offsetBytes, lengthBytes, op);
  }

  /** Before 6.12 the kernel only has a blocking call for this, which would delay all devices; there, discards are refused. */
  discard(fd: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    const tag = this.#tagFor(op);
    if (this.#ring.supports(RingOp.URING_CMD)) this.#ring.discard(fd, offsetBytes, lengthBytes, this.#owner, tag);
    else this.#runtime.soon(() => this.onCompletion(tag, -EOPNOTSUPP));
  }

  onCompletion(tag: number, result: number): void {
    const op = this.#ops[tag];
    this.#ring.deviceOps--;
    this.#ops[tag] = null;
    this.#freeTags.push(tag);
    op?.onEngineDone(result);
  }

  #transfer(
    plainOp: RingOp,
    fixedOp: RingOp,
    fd: number,
    addr: number,
    lengthBytes: number,
    offsetBytes: number,
    op: EngineOp,
  ): void {
    const processAddr = this.#memoryAddr + addr;
    const buffer = this.#isDirect[fd] === true ? this.#fixedBuffers.find(processAddr, lengthBytes) : -1;
    const tag = this.#tagFor(op);
    if (buffer < 0) this.#ring.prepare(plainOp, fd, offsetBytes, processAddr, lengthBytes, 0, this.#owner, tag);
    else this.#ring.prepareFixed(fixedOp, fd, offsetBytes, processAddr, lengthBytes, buffer, this.#owner, tag);
  }

  /** FALLOCATE takes the length in the address field and the mode in the length field. */
  #fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number, op: EngineOp): void {
    this.#ring.prepare(RingOp.FALLOCATE, fd, offsetBytes, lengthBytes, mode, 0, this.#owner, this.#tagFor(op));
  }

  #tagFor(op: EngineOp): number {
    this.#ring.deviceOps++;
    const tag = this.#freeTags.pop() ?? this.#ops.length;
    this.#ops[tag] = op;
    return tag;
  }
}
