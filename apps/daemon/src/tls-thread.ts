import { Worker } from 'node:worker_threads';
import type { Logger } from '@raidkit/bdev';
import { LogLimit } from '@raidkit/nbd';
import type { TlsCredentials, TlsHandover } from '@raidkit/nbd';
import type { FromTls, TlsData, ToTls } from './tls-messages.js';

/**
 * A thread in which a reactor has TLS done for its NBD clients, so that neither the data path nor the control sockets wait for
 * it. It is started with the first of them. If it ends before its time its clients lose their connections, and the next one
 * starts another.
 */
export class TlsThread {
  #credentials: TlsCredentials;
  readonly #log: Logger;
  readonly #fewMessages: LogLimit;
  #worker: Worker | null = null;

  constructor(credentials: TlsCredentials, log: Logger) {
    this.#credentials = credentials;
    this.#log = log;
    this.#fewMessages = new LogLimit(log, performance);
  }

  /** For clients that come from now on. */
  renew(credentials: TlsCredentials): void {
    this.#credentials = credentials;
    if (this.#worker !== null) send(this.#worker, { type: 'renew', credentials });
  }

  take(client: TlsHandover): void {
    this.#worker ??= this.#start();
    send(this.#worker, { type: 'client', client });
  }

  /** Resolves when all clients have gone; their NBD server must be closed. None may come any more. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    send(worker, { type: 'close' });
    await new Promise((resolve) => worker.once('exit', resolve));
  }

  #start(): Worker {
    const workerData: TlsData = { credentials: this.#credentials };
    const worker = new Worker(new URL('./tls-worker.js', import.meta.url), { workerData });
    worker.on('message', ({ peer, reason }: FromTls) =>
      this.#fewMessages.log('info', { peer, reason }, 'an NBD client failed to begin TLS'),
    );
    worker.on('error', (error) => this.#log.error({ err: error }, 'the thread that does TLS has failed'));
    worker.on('exit', () => (this.#worker = null));
    return worker;
  }
}

function send(worker: Worker, message: ToTls): void {
  worker.postMessage(message);
}
