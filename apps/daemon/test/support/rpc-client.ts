import { connect } from 'node:net';
import type { Socket } from 'node:net';

export interface Answer {
  jsonrpc: string;
  id: string | number | null;
  result?: unknown;
  error?: { code: number; message: string; data?: { reason: string; field?: string; allowed?: string; error_code?: string } };
}

/** A JSON-RPC client that sends what it is told, byte for byte, and collects answers line by line. */
export class RpcClient {
  readonly socket: Socket;
  readonly answers: Answer[] = [];
  /** What came over the wire, as it came. */
  raw = '';
  readonly closed: Promise<void>;
  #id = 0;
  #seen = 0;
  readonly #waiters = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('data', (piece: string) => {
      this.raw += piece;
      const lines = this.raw.split('\n').slice(0, -1);
      for (const line of lines.slice(this.#seen)) this.answers.push(JSON.parse(line) as Answer);
      this.#seen = lines.length;
      for (const waiter of this.#waiters) waiter();
    });
    this.closed = new Promise((resolve) =>
      socket.on('close', () => {
        for (const waiter of this.#waiters) waiter();
        resolve();
      }),
    );
  }

  static connect(address: string | { host: string; port: number }): Promise<RpcClient> {
    return new Promise((resolve, reject) => {
      const socket = typeof address === 'string' ? connect(address) : connect(address);
      socket.once('connect', () => resolve(new RpcClient(socket)));
      socket.once('error', reject);
    });
  }

  /** The answer with this id. */
  async answer(id: string | number | null): Promise<Answer> {
    for (;;) {
      const found = this.answers.find((answer) => answer.id === id);
      if (found !== undefined) return found;
      if (this.socket.destroyed) throw new Error(`the connection closed before the answer to ${String(id)}`);
      await new Promise<void>((resolve) => {
        const waiter = (): void => {
          this.#waiters.delete(waiter);
          resolve();
        };
        this.#waiters.add(waiter);
      });
    }
  }

  /** Sends a call as rpc.py does, and gives its answer, result or error. */
  async ask(method: string, params?: unknown): Promise<Answer> {
    const id = ++this.#id;
    this.socket.write(JSON.stringify({ jsonrpc: '2.0', method, id, ...(params === undefined ? {} : { params }) }, null, 2));
    return this.answer(id);
  }

  /** The result of a call; throws if it is answered with an error. */
  async call(method: string, params?: unknown): Promise<unknown> {
    const { result, error } = await this.ask(method, params);
    if (error !== undefined) throw new Error(`${method}: ${error.message} (${error.code}): ${String(error.data?.reason)}`);
    return result;
  }

  close(): void {
    this.socket.destroy();
  }
}
