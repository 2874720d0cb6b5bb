import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { NbdAddress } from '../src/index.js';
import { TestClient } from './client.js';

/** A test client on a real socket. */
export async function connectSocket(address: NbdAddress): Promise<{ client: TestClient; socket: Socket }> {
  const socket = 'unix' in address ? connect(address.unix) : connect(address.port, address.host);
  const client = new TestClient((bytes) => void socket.write(bytes));
  socket.on('data', (bytes) => client.feed(bytes));
  socket.on('error', () => undefined);
  socket.on('close', () => client.end());
  socket.on('end', () => socket.end());
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return { client, socket };
}
