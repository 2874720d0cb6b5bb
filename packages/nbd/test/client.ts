/** The protocol from the other side, written from the specification and not from the server's code. */

export const cmd = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 } as const;
export const flag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16, payloadLen: 32 } as const;
export const opt = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMeta: 9,
  setMeta: 10,
  extendedHeaders: 11,
} as const;
export const rep = {
  ack: 1,
  server: 2,
  info: 3,
  meta: 4,
  unsup: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
  tooBig: 0x80000009,
  extHeaderReqd: 0x8000000a,
} as const;

export type Style = 'simple' | 'structured' | 'extended';

export interface OptionAnswer {
  type: number;
  data: Buffer;
}

export interface Chunk {
  type: number;
  isDone: boolean;
  payload: Buffer;
}

export interface Reply {
  errno: number;
  /** Of a read: the bytes, put together. */
  data: Buffer;
  /** Empty for simple replies. */
  chunks: Chunk[];
  /** Of the first error chunk that has one. */
  errorOffset: number | null;
  extents: { lengthBytes: number; flags: number }[];
}

export function optionBytes(option: number, data: Uint8Array = Buffer.alloc(0), length = data.length): Buffer {
  const head = Buffer.alloc(16);
  head.write('IHAVEOPT', 0, 'latin1');
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(length, 12);
  return Buffer.concat([head, data]);
}

export function goData(name: string, infos: number[] = []): Buffer {
  const text = Buffer.from(name);
  const data = Buffer.alloc(6 + text.length + infos.length * 2);
  data.writeUInt32BE(text.length, 0);
  text.copy(data, 4);
  data.writeUInt16BE(infos.length, 4 + text.length);
  infos.forEach((info, i) => data.writeUInt16BE(info, 6 + text.length + 2 * i));
  return data;
}

export function metaData(name: string, queries: string[]): Buffer {
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): Buffer[] => [u32(Buffer.byteLength(value)), Buffer.from(value)];
  return Buffer.concat([...text(name), u32(queries.length), ...queries.flatMap(text)]);
}

export function requestBytes(
  style: Style,
  command: number,
  flags: number,
  cookie: bigint,
  offset: number,
  lengthBytes: number,
): Buffer {
  const isExtended = style === 'extended';
  const bytes = Buffer.alloc(isExtended ? 32 : 28);
  bytes.writeUInt32BE(isExtended ? 0x21e41c71 : 0x25609513, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  if (isExtended) bytes.writeBigUInt64BE(BigInt(lengthBytes), 24);
  else bytes.writeUInt32BE(lengthBytes, 24);
  return bytes;
}

interface Pending {
  command: number;
  offset: number;
  lengthBytes: number;
  reply: Reply;
  resolve: (reply: Reply) => void;
  reject: (error: Error) => void;
}

/** One connection, strict about everything that it is told. Bytes come in by `feed` and go out by the function given. */
export class TestClient {
  style: Style = 'simple';
  sizeBytes = 0;
  transmissionFlags = 0;
  readonly #send: (bytes: Buffer) => void;
  #input = Buffer.alloc(0);
  #waiting: { bytes: number; resolve: (bytes: Buffer) => void; reject: (error: Error) => void } | null = null;
  #isEnded = false;
  #onEnd: (() => void)[] = [];
  // A large odd number: cookies must come back as they are.
  #cookie = 0xf123456789abcdefn;
  readonly #pending = new Map<bigint, Pending>();

  constructor(send: (bytes: Buffer) => void) {
    this.#send = send;
  }

  feed(bytes: Uint8Array): void {
    this.#input = Buffer.concat([this.#input, bytes]);
    this.#serve();
  }

  /** The server has closed the connection. */
  end(): void {
    this.#isEnded = true;
    this.#serve();
    for (const resolve of this.#onEnd.splice(0)) resolve();
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get unreadBytes(): number {
    return this.#input.length;
  }

  ended(): Promise<void> {
    if (this.#isEnded) return Promise.resolve();
    return new Promise((resolve) => this.#onEnd.push(resolve));
  }

  send(bytes: Buffer): void {
    this.#send(bytes);
  }

  read(bytes: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { bytes, resolve, reject };
      this.#serve();
    });
  }

  #serve(): void {
    const waiting = this.#waiting;
    if (waiting === null) return;
    if (this.#input.length >= waiting.bytes) {
      this.#waiting = null;
      const bytes = this.#input.subarray(0, waiting.bytes);
      this.#input = this.#input.subarray(waiting.bytes);
      waiting.resolve(bytes);
    } else if (this.#isEnded) {
      this.#waiting = null;
      waiting.reject(new Error('the connection ended'));
    }
  }

  /** The greeting, and the answer to it. */
  async greet(clientFlags = 3): Promise<void> {
    const greeting = await this.read(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('wrong greeting');
    if (greeting.readUInt16BE(16) !== 3) throw new Error('wrong handshake flags');
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(clientFlags);
    this.#send(flags);
  }

  /** Sends an option and collects its replies, up to the last. */
  async option(option: number, data?: Uint8Array): Promise<OptionAnswer[]> {
    this.#send(optionBytes(option, data));
    return this.answers(option);
  }

  async answers(option: number): Promise<OptionAnswer[]> {
    const answers: OptionAnswer[] = [];
    for (;;) {
      const head = await this.read(20);
      if (head.readBigUInt64BE(0) !== 0x3e889045565a9n) throw new Error('wrong option reply magic');
      if (head.readUInt32BE(8) !== option) throw new Error('a reply to another option');
      const answer = { type: head.readUInt32BE(12), data: Buffer.from(await this.read(head.readUInt32BE(16))) };
      answers.push(answer);
      if (answer.type === rep.ack || answer.type >= 0x80000000) return answers;
    }
  }

  /** All the way to the transmission phase. */
  async open(name = 'disk', style: Style = 'structured', contexts: string[] = ['base:allocation']): Promise<void> {
    await this.greet();
    if (style === 'structured') await this.#acked(opt.structuredReply);
    if (style === 'extended') await this.#acked(opt.extendedHeaders);
    if (style !== 'simple' && contexts.length > 0) await this.#acked(opt.setMeta, metaData(name, contexts));
    const answers = await this.#acked(opt.go, goData(name));
    const info = answers.find(({ type, data }) => type === rep.info && data.readUInt16BE(0) === 0);
    if (info === undefined) throw new Error('no export information');
    this.sizeBytes = Number(info.data.readBigUInt64BE(2));
    this.transmissionFlags = info.data.readUInt16BE(10);
    this.start(style);
  }

  async #acked(option: number, data?: Uint8Array): Promise<OptionAnswer[]> {
    const answers = await this.option(option, data);
    if (answers.at(-1)?.type !== rep.ack) throw new Error(`option ${option} was refused`);
    return answers;
  }

  /** From here on, replies to requests come in. */
  start(style: Style): void {
    this.style = style;
    void this.#replies();
  }

  /** Sends a request; a write's payload is `payload`. */
  request(command: number, offset: number, lengthBytes: number, flags = 0, payload?: Uint8Array): Promise<Reply> {
    const cookie = this.#cookie++;
    const isWrite = command === cmd.write;
    const allFlags = flags | (this.style === 'extended' && isWrite ? flag.payloadLen : 0);
    const reply = this.expectReply(cookie, command, offset, lengthBytes);
    const head = requestBytes(this.style, command, allFlags, cookie, offset, lengthBytes);
    this.#send(payload === undefined ? head : Buffer.concat([head, payload]));
    return reply;
  }

  expectReply(cookie: bigint, command: number, offset: number, lengthBytes: number): Promise<Reply> {
    const reply: Reply = { errno: 0, data: Buffer.alloc(0), chunks: [], errorOffset: null, extents: [] };
    return new Promise((resolve, reject) => {
      if (this.#isEnded) reject(new Error('the connection has ended'));
      else this.#pending.set(cookie, { command, offset, lengthBytes, reply, resolve, reject });
    });
  }

  pread(offset: number, lengthBytes: number, flags = 0): Promise<Reply> {
    return this.request(cmd.read, offset, lengthBytes, flags);
  }

  pwrite(offset: number, data: Uint8Array, flags = 0): Promise<Reply> {
    return this.request(cmd.write, offset, data.length, flags, data);
  }

  disconnect(): void {
    this.#send(requestBytes(this.style, cmd.disc, 0, 0n, 0, 0));
  }

  async #replies(): Promise<void> {
    try {
      for (;;) await this.#reply();
    } catch (error) {
      // What has been received before the end has been looked at by now.
      for (const { reject } of this.#pending.values()) reject(error as Error);
      this.#pending.clear();
    }
  }

  async #reply(): Promise<void> {
    const magic = (await this.read(4)).readUInt32BE(0);
    if (magic === 0x67446698 && this.style !== 'extended') return this.#simpleReply();
    if (magic === 0x668e33ef && this.style === 'structured') {
      const head = await this.read(16);
      return this.#chunk(head, head.readUInt32BE(12));
    }
    if (magic === 0x6e8a278c && this.style === 'extended') {
      const head = await this.read(28);
      const pending = this.#find(head.readBigUInt64BE(4));
      if (Number(head.readBigUInt64BE(12)) !== pending.offset) throw new Error('the reply is for another offset');
      return this.#chunk(head, Number(head.readBigUInt64BE(20)));
    }
    throw new Error(`wrong reply magic ${magic.toString(16)}`);
  }

  async #simpleReply(): Promise<void> {
    const head = await this.read(12);
    const cookie = head.readBigUInt64BE(4);
    const pending = this.#find(cookie);
    if (pending.command === cmd.read && this.style !== 'simple') throw new Error('a simple reply to a read');
    pending.reply.errno = head.readUInt32BE(0);
    if (pending.command === cmd.read && pending.reply.errno === 0)
      pending.reply.data = Buffer.from(await this.read(pending.lengthBytes));
    this.#pending.delete(cookie);
    pending.resolve(pending.reply);
  }

  async #chunk(head: Buffer, payloadBytes: number): Promise<void> {
    const isDone = (head.readUInt16BE(0) & 1) !== 0;
    const type = head.readUInt16BE(2);
    const cookie = head.readBigUInt64BE(4);
    const pending = this.#find(cookie);
    const { reply, offset, lengthBytes } = pending;
    const payload = Buffer.from(await this.read(payloadBytes));
    reply.chunks.push({ type, isDone, payload });
    if (type === 1) {
      if (reply.data.length === 0) reply.data = Buffer.alloc(lengthBytes);
      const at = Number(payload.readBigUInt64BE(0)) - offset;
      if (at < 0 || payload.length < 9 || at + payload.length - 8 > lengthBytes) throw new Error('data outside the request');
      payload.copy(reply.data, at, 8);
    } else if (type === 5) {
      if (payload.readUInt32BE(0) !== 1) throw new Error('wrong context');
      for (let at = 4; at < payload.length; at += 8)
        reply.extents.push({ lengthBytes: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) });
    } else if (type === 6) {
      if (payload.readUInt32BE(0) !== 1 || payload.readUInt32BE(4) !== (payload.length - 8) / 16)
        throw new Error('wrong context or count');
      for (let at = 8; at < payload.length; at += 16) {
        reply.extents.push({
          lengthBytes: Number(payload.readBigUInt64BE(at)),
          flags: Number(payload.readBigUInt64BE(at + 8)),
        });
      }
    } else if (type >= 0x8000) {
      reply.errno ||= payload.readUInt32BE(0);
      const messageBytes = payload.readUInt16BE(4);
      if (type === 0x8002) reply.errorOffset ??= Number(payload.readBigUInt64BE(6 + messageBytes));
    } else if (type !== 0 || payloadBytes !== 0 || !isDone) {
      throw new Error(`an odd chunk of type ${type}`);
    }
    if (!isDone) return;
    this.#pending.delete(cookie);
    pending.resolve(reply);
  }

  #find(cookie: bigint): Pending {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw new Error('a reply to no request');
    return pending;
  }
}
