import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

const greetingBytes = 18;
const optionReplyBytes = 20;
const optionGo = 7;
const optionList = 3;
const replyAck = 1;

/** Commands of NBD. */
export const Command = { Read: 0, Write: 1, WriteZeroes: 6 } as const;
/** Flag of write zeroes: they are to be written, and not left as a hole. */
export const noHole = 2;

/** An NBD client that keeps to no rules but those of the handshake; simple replies. */
export class RawClient {
  readonly socket: Socket;
  /** Received data is discarded. */
  isCareless = false;
  #came = Buffer.alloc(0);
  #onCome: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (piece: Buffer) => {
      if (!this.isCareless) this.#came = Buffer.concat([this.#came, piece]);
      this.#onCome();
    });
    socket.on('close', () => this.#onCome());
    // A server that closes the connection is an expected result, and not a failure.
    socket.on('error', () => undefined);
  }

  /** Rejects if no server listens, or the connection ends, before it is there. */
  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    const client = new RawClient(socket);
    await Promise.race([once(socket, 'connect'), closed(socket)]);
    return client;
  }

  /** Through the handshake, up to the choice of an export. Rejects if the server ends it. */
  async choose(exportName: string): Promise<void> {
    await this.greet();
    const name = Buffer.from(exportName);
    const data = Buffer.alloc(6 + name.length);
    data.writeUInt32BE(name.length);
    name.copy(data, 4);
    this.socket.write(option(optionGo, data));
    for (;;) {
      const head = await this.read(optionReplyBytes);
      const type = head.readUInt32BE(12);
      const length = head.readUInt32BE(16);
      if (length > 0) await this.read(length);
      if (type === replyAck) return;
      if (type >= 2 ** 31) throw new Error(`the server has no export "${exportName}"`);
    }
  }

  async greet(): Promise<void> {
    await this.read(greetingBytes);
    this.socket.write(Buffer.from([0, 0, 0, 3]));
  }

  /** Rejects if the connection ends before. */
  async read(bytes: number): Promise<Buffer> {
    while (this.#came.length < bytes) {
      if (this.socket.destroyed) throw new Error('the connection has ended');
      await new Promise<void>((resolve) => {
        this.#onCome = resolve;
      });
    }
    const found = this.#came.subarray(0, bytes);
    this.#came = this.#came.subarray(bytes);
    return found;
  }
}

async function closed(socket: Socket): Promise<never> {
  if (!socket.destroyed) await once(socket, 'close');
  throw new Error('the connection has ended');
}

function option(code: number, data: Buffer): Buffer {
  const head = Buffer.from('IHAVEOPT\0\0\0\0\0\0\0\0', 'latin1');
  head.writeUInt32BE(code, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** So many requests for the list of exports. */
export function listOptions(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => option(optionList, Buffer.alloc(0))));
}

/** A request, without what it carries. */
export function request(command: number, offset: number, length: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt32BE(0x2560_9513);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}
