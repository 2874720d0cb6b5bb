import { Worker } from 'node:worker_threads';
import type { Logger } from '@raidkit/bdev';
import { LogLimit } from '@raidkit/nbd';
import type { TlsCredentials, TlsHandover } from '@raidkit/nbd';
import type { FromTls, TlsData, ToTls } from './tls-messages.js';

/**
 * A thread that does TLS for a reactor's NBD clients, so that neither the data path nor the control sockets wait for it. It is
 * started with the first client. If it ends unexpectedly, its clients lose their connections and the next client starts another
 * one.
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

  /** Sets the credentials for clients that connect from now on. */
  renew(credentials: TlsCredentials): void {
    this.#credentials = credentials;
    if (this.#worker !== null) send(this.#worker, { type: 'renew', credentials });
  }

  take(client: TlsHandover): void {
    this.#worker ??= this.#start();
    send(this.#worker, { type: 'client', client });
  }

  /** Resolves when all clients have gone. Their NBD server must be closed, and no more clients may come. */
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
      this.#fewMessages.log('info', { peer, reason }, 'an NBD client failed to start TLS'),
    );
    worker.on('error', (error) => this.#log.error({ err: error }, 'the TLS thread has failed'));
    worker.on('exit', () => (this.#worker = null));
    return worker;
  }
}

function send(worker: Worker, message: ToTls): void {
  worker.postMessage(message);
}
