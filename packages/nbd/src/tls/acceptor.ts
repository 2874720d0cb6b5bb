import type { Duplex } from 'node:stream';
import { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import { tlsServerOptions } from './credentials.js';
import type { TlsCredentials } from './credentials.js';

/**
 * Does TLS handshakes on sockets that have been in use without it.
 *
 * Node calls back, and runs promises and ticks, from inside OpenSSL. To destroy a socket there that TLS has been put upon frees
 * what OpenSSL goes on to use, and that ends the process; so it is only ever done in a turn of its own. To destroy the TLS socket
 * instead is safe at any time.
 */
export class TlsAcceptor {
  #credentials: TlsCredentials;
  /** Each does one handshake at a time, so that it is clear whose it is. They take a few milliseconds to make. */
  #idle: Server[] = [];

  constructor(credentials: TlsCredentials) {
    this.#credentials = credentials;
  }

  /** Handshakes that begin from now on are done with these. */
  renew(credentials: TlsCredentials): void {
    this.#credentials = credentials;
    this.#idle = [];
  }

  /**
   * Does the handshake on `raw`, which the caller may not read, write or destroy any more. If it succeeds, `onSecure` gets the
   * socket to use instead; if not, `raw` is closed, and `onFailed` told why. One of them is called in any case. Returns a
   * function that gives up. `onKeyLog` gets the secrets of the handshake, as OpenSSL logs them.
   */
  accept(
    raw: Duplex,
    onSecure: (socket: TLSSocket) => void,
    onFailed: (reason: string) => void,
    onKeyLog?: (line: Buffer) => void,
  ): () => void {
    const idle = this.#idle;
    const server = idle.pop() ?? createServer(tlsServerOptions(this.#credentials));
    if (onKeyLog !== undefined) server.on('keylog', onKeyLog);
    server.once('secureConnection', (socket) => {
      server.removeAllListeners('tlsClientError');
      server.removeAllListeners('keylog');
      // If the credentials have been renewed meanwhile, this is the old list, whose servers are not used again.
      idle.push(server);
      socket.allowHalfOpen = true;
      onSecure(socket);
    });
    // A server that has failed is not used again: a late event can then not be taken for one of another client.
    server.once('tlsClientError', (error, socket) => {
      // Not an Error, whatever its type says: a code, or nothing if the certificate is not the reason.
      const refusal: unknown = socket.authorizationError;
      setImmediate(() => onFailed(typeof refusal === 'string' ? `its certificate is not accepted: ${refusal}` : error.message));
    });
    raw.on('error', () => undefined);
    // A client that ends in the middle of the handshake is gone; afterwards it may still want answers.
    raw.allowHalfOpen = false;
    server.emit('connection', raw);
    return () => setImmediate(() => raw.destroy());
  }
}
