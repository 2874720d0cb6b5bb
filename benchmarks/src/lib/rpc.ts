import { connect } from 'node:net';
import type { Socket } from 'node:net';

/** A JSON-RPC client: one call at a time. */
export class Rpc {
  readonly #socket: Socket;
  #text = '';
  #id = 0;
  #waiting: { resolve: (result: unknown) => void; reject: (error: Error) => void } | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (piece: string) => this.#onText(piece));
    socket.on('error', (error) => this.#waiting?.reject(error));
  }

  static connect(path: string): Promise<Rpc> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('connect', () => resolve(new Rpc(socket)));
      socket.once('error', reject);
    });
  }

  call(method: string, params?: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(
        JSON.stringify({ jsonrpc: '2.0', id: ++this.#id, method, ...(params === undefined ? {} : { params }) }),
      );
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onText(piece: string): void {
    this.#text += piece;
    if (!this.#text.endsWith('\n')) return;
    const { result, error } = JSON.parse(this.#text) as { result?: unknown; error?: { code: number; message: string } };
    this.#text = '';
    const waiting = this.#waiting;
    this.#waiting = null;
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(`${error.message} (${error.code})`));
  }
}
