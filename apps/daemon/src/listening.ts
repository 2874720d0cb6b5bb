import type { ListenOptions, Server } from 'node:net';
import { listenPrivately } from '@raidkit/nbd';

/** Starts a server. Resolves when it listens; rejects if it cannot. Only its owner may use a Unix socket (mode 0600). */
export async function startListening(server: Server, where: ListenOptions): Promise<void> {
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
  });
  if (where.path === undefined) server.listen(where);
  else listenPrivately(server, where.path, where.backlog);
  await listening;
}

/** The actual port of a TCP server; 0 for a Unix socket. */
export function portOf(server: Server): number {
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}
