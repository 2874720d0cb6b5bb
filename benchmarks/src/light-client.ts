// An NBD client that costs as little as possible, so that the server's limit shows and not the client's. A program:
//   light-client.js SOCKET EXPORT[,EXPORT...] read|write BLOCK_BYTES DEPTH SECONDS [CONNECTIONS]
// Connections take the exports in turn. Prints one line of JSON. Data is neither made nor looked at; replies are.
import { MessageFlag, RingOp, SocketFamily, loadSys, openRing, whyNoSys } from '@raidkit/sys';
import type { Ring, RingOwner, Sys } from '@raidkit/sys';

const requestBytes = 28;
const replyBytes = 16;
const requestMagic = 0x2560_9513;
const replyMagic = 0x6744_6698;
const optionGo = 7;
const replyAck = 1;
const replyInfo = 3;

const sendTag = 0;
const receiveTag = 1;
const histogramStepUs = 0.5;

interface Job {
  isWrite: boolean;
  blockBytes: number;
  depth: number;
  /** On performance's clock. */
  endAt: number;
}

class Connection implements RingOwner {
  done = 0;
  isOver = false;
  readonly #ring: Ring;
  readonly #fd: number;
  readonly #owner: number;
  readonly #job: Job;
  readonly #blocks: number;
  readonly #histogram: Float64Array;
  readonly #tx: DataView;
  readonly #txAddr: number;
  readonly #rx: Uint8Array;
  readonly #rxView: DataView;
  readonly #rxAddr: number;
  readonly #startedAt: Float64Array;
  readonly #free: number[] = [];
  #rxBytes = 0;
  #inFlight = 0;
  #isSending = false;
  #random: number;

  constructor(ring: Ring, sys: Sys, fd: number, sizeBytes: number, job: Job, histogram: Float64Array) {
    this.#ring = ring;
    this.#fd = fd;
    this.#job = job;
    this.#histogram = histogram;
    this.#blocks = Math.floor(sizeBytes / job.blockBytes);
    this.#owner = ring.addOwner(this);
    this.#random = 123_456_789 + this.#owner * 7919;
    const tx = new Uint8Array(new ArrayBuffer(job.depth * (requestBytes + (job.isWrite ? job.blockBytes : 0)))).fill(1);
    this.#tx = new DataView(tx.buffer);
    this.#txAddr = sys.addressOf(tx);
    this.#rx = new Uint8Array(new ArrayBuffer(Math.min(64 << 20, (job.blockBytes + replyBytes) * job.depth + (1 << 16)))).fill(
      0,
    );
    this.#rxView = new DataView(this.#rx.buffer);
    this.#rxAddr = sys.addressOf(this.#rx);
    this.#startedAt = new Float64Array(job.depth);
    for (let id = 0; id < job.depth; id++) this.#free.push(id);
  }

  start(): void {
    this.#request();
    this.#receive();
  }

  onCompletion(tag: number, result: number): void {
    if (result <= 0) throw new Error(`the server is gone: ${tag === sendTag ? 'send' : 'receive'} gave ${result}`);
    if (tag === sendTag) {
      this.#isSending = false;
    } else {
      this.#rxBytes += result;
      this.#takeReplies();
    }
    this.#request();
    if (tag === receiveTag && this.#inFlight > 0) this.#receive();
    this.isOver = this.#inFlight === 0 && !this.#isSending;
  }

  #request(): void {
    if (this.#isSending) return;
    const now = performance.now();
    if (now >= this.#job.endAt) return;
    const { isWrite, blockBytes } = this.#job;
    const tx = this.#tx;
    let bytes = 0;
    for (let id = this.#free.pop(); id !== undefined; id = this.#free.pop()) {
      const offset = this.#nextBlock() * blockBytes;
      tx.setUint32(bytes, requestMagic);
      tx.setUint32(bytes + 4, isWrite ? 1 : 0);
      tx.setUint32(bytes + 8, 0);
      tx.setUint32(bytes + 12, id);
      tx.setUint32(bytes + 16, Math.floor(offset / 2 ** 32));
      tx.setUint32(bytes + 20, offset >>> 0);
      tx.setUint32(bytes + 24, blockBytes);
      bytes += requestBytes + (isWrite ? blockBytes : 0);
      this.#startedAt[id] = now;
      this.#inFlight++;
    }
    if (bytes === 0) return;
    this.#isSending = true;
    this.#ring.prepare(
      RingOp.SEND,
      this.#fd,
      0,
      this.#txAddr,
      bytes,
      MessageFlag.WAIT_ALL | MessageFlag.NO_SIGNAL,
      this.#owner,
      sendTag,
    );
  }

  #receive(): void {
    this.#ring.prepare(
      RingOp.RECV,
      this.#fd,
      0,
      this.#rxAddr + this.#rxBytes,
      this.#rx.length - this.#rxBytes,
      0,
      this.#owner,
      receiveTag,
    );
  }

  #takeReplies(): void {
    const now = performance.now();
    const length = replyBytes + (this.#job.isWrite ? 0 : this.#job.blockBytes);
    let at = 0;
    for (; this.#rxBytes - at >= length; at += length) {
      if (this.#rxView.getUint32(at) !== replyMagic || this.#rxView.getUint32(at + 4) !== 0)
        throw new Error('the server answered with an error');
      const id = this.#rxView.getUint32(at + 12);
      const step = Math.min(
        this.#histogram.length - 1,
        Math.floor(((now - (this.#startedAt[id] ?? 0)) * 1000) / histogramStepUs),
      );
      this.#histogram[step] = (this.#histogram[step] ?? 0) + 1;
      this.#free.push(id);
      this.#inFlight--;
      this.done++;
    }
    if (at === 0) return;
    this.#rx.copyWithin(0, at, this.#rxBytes);
    this.#rxBytes -= at;
  }

  #nextBlock(): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return (this.#random >>> 0) % this.#blocks;
  }
}

/** Sends and receives whole messages, for the handshake. */
class Talk implements RingOwner {
  readonly #ring: Ring;
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #owner: number;
  #result = 0;

  constructor(ring: Ring, sys: Sys, fd: number) {
    this.#ring = ring;
    this.#sys = sys;
    this.#fd = fd;
    this.#owner = ring.addOwner(this);
  }

  onCompletion(_tag: number, result: number): void {
    this.#result = result;
  }

  send(bytes: Buffer): void {
    this.#move(RingOp.SEND, bytes);
  }

  receive(length: number): Buffer {
    const bytes = Buffer.from(new ArrayBuffer(length));
    if (length > 0) this.#move(RingOp.RECV, bytes);
    return bytes;
  }

  end(): void {
    this.#ring.removeOwner(this.#owner);
  }

  #move(op: RingOp, bytes: Buffer): void {
    this.#ring.prepare(op, this.#fd, 0, this.#sys.addressOf(bytes), bytes.length, MessageFlag.WAIT_ALL, this.#owner, 0);
    do this.#ring.enter(1);
    while (this.#ring.drain() === 0);
    if (this.#result !== bytes.length) throw new Error('the server ended the handshake');
  }
}

/** Agrees on an export and simple replies; returns the export's size. */
function shakeHands(talk: Talk, name: string): number {
  talk.receive(18);
  talk.send(Buffer.from([0, 0, 0, 3]));
  const data = Buffer.alloc(16 + 4 + name.length + 2);
  data.write('IHAVEOPT', 0, 'latin1');
  data.writeUInt32BE(optionGo, 8);
  data.writeUInt32BE(4 + name.length + 2, 12);
  data.writeUInt32BE(name.length, 16);
  data.write(name, 20, 'latin1');
  talk.send(Buffer.from(data));
  let sizeBytes = 0;
  for (;;) {
    const head = talk.receive(20);
    const type = head.readUInt32BE(12);
    const body = talk.receive(head.readUInt32BE(16));
    if (type === replyAck) return sizeBytes;
    if (type !== replyInfo) throw new Error(`the server refused the export ${name}`);
    if (body.readUInt16BE(0) === 0) sizeBytes = Number(body.readBigUInt64BE(2));
  }
}

function main(): void {
  const [path = '', names = '', direction, blockText, depthText, secondsText, connectionsText = '1'] = process.argv.slice(2);
  const sys = loadSys();
  if (sys === null) throw new Error(whyNoSys());
  const { ring, reason } = openRing({ entries: 1024 });
  if (ring === null) throw new Error(reason);
  const histogram = new Float64Array(200_000);
  const exports = names.split(',');
  const sockets: { fd: number; sizeBytes: number }[] = [];
  for (let count = 0; count < Number(connectionsText); count++) {
    const fd = sys.sockets.socket(SocketFamily.UNIX);
    const result = sys.sockets.connect(fd, { path });
    if (result < 0) throw new Error(`${path}: connect failed with errno ${-result}`);
    const talk = new Talk(ring, sys, fd);
    sockets.push({ fd, sizeBytes: shakeHands(talk, exports[count % exports.length] ?? '') });
    talk.end();
  }
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  const job = {
    isWrite: direction === 'write',
    blockBytes: Number(blockText),
    depth: Number(depthText),
    endAt: startedAt + Number(secondsText) * 1000,
  };
  const connections = sockets.map(({ fd, sizeBytes }) => new Connection(ring, sys, fd, sizeBytes, job, histogram));
  for (const connection of connections) connection.start();
  while (connections.some(({ isOver }) => !isOver)) {
    ring.enter(1);
    ring.drain();
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const ops = connections.reduce((sum, { done }) => sum + done, 0);
  const quantileUs = (q: number): number => {
    let seen = 0;
    const step = histogram.findIndex((count) => (seen += count) >= q * ops);
    return (step + 1) * histogramStepUs;
  };
  console.log(
    JSON.stringify({ ops, seconds, clientCpuUs: (user + system) / ops, p50Us: quantileUs(0.5), p99Us: quantileUs(0.99) }),
  );
}

main();
