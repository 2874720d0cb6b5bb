import type { Duplex } from 'node:stream';
import { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import { tlsServerOptions } from './credentials.js';
import type { TlsCredentials } from './credentials.js';

/**
 * Does TLS handshakes on sockets that have been used without TLS.
 *
 * Node runs callbacks, promises and ticks from inside OpenSSL. Destroying the underlying socket there frees memory that OpenSSL
 * goes on to use, which crashes the process. So the socket is only destroyed in a turn of its own. The TLS socket may be
 * destroyed at any time.
 */
export class TlsAcceptor {
  #credentials: TlsCredentials;
  /**
   * Each server does one handshake at a time, so that its events belong to one client. Creating one takes a few milliseconds.
   */
  #idle: Server[] = [];

  constructor(credentials: TlsCredentials) {
    this.#credentials = credentials;
  }

  /** Uses these credentials for handshakes that begin from now on. */
  renew(credentials: TlsCredentials): void {
    this.#credentials = credentials;
    this.#idle = [];
  }

  /**
   * Does the handshake on `raw`, which the caller must not read, write or destroy any more. On success, `onSecure` is called
   * with the socket to use instead. Otherwise `raw` is closed and `onFailed` is called with the reason. Returns a function that
   * cancels the handshake. `onKeyLog` receives the secrets of the handshake in the format in which OpenSSL logs them.
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
      // If the credentials have been renewed meanwhile, this is the old list, which is not used again.
      idle.push(server);
      socket.allowHalfOpen = true;
      onSecure(socket);
    });
    // A server that has failed is not used again, so that a late event of it is not taken for one of another client.
    server.once('tlsClientError', (error, socket) => {
      // The type says Error, but it is a code, or absent if the certificate is not the reason.
      const refusal: unknown = socket.authorizationError;
      setImmediate(() => onFailed(typeof refusal === 'string' ? `its certificate is not accepted: ${refusal}` : error.message));
    });
    raw.on('error', () => undefined);
    // A client that ends its direction during the handshake is gone. After the handshake it may still want replies.
    raw.allowHalfOpen = false;
    server.emit('connection', raw);
    return () => setImmediate(() => raw.destroy());
  }
}
