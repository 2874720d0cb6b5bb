import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { TestClient } from './client.js';

/** A client that has gone over to TLS. */
export interface Secured {
  client: TestClient;
  tls: TLSSocket;
  raw: Socket;
}

/** Goes over to TLS on a connection whose STARTTLS was acknowledged. Rejects if the handshake fails. */
export async function secure(raw: Socket, options: ConnectionOptions): Promise<Secured> {
  const tls = connect({ socket: raw, servername: 'localhost', ...options });
  const client = new TestClient((bytes) => void tls.write(bytes));
  await new Promise<void>((resolve, reject) => {
    tls.once('error', reject);
    tls.once('close', () => reject(new Error('the connection ended')));
    tls.once('secureConnect', resolve);
  });
  tls.on('error', () => undefined);
  tls.on('data', (bytes: Buffer) => client.feed(bytes));
  tls.on('end', () => tls.end());
  tls.on('close', () => client.end());
  return { client, tls, raw };
}
