import type { ListenOptions, Server } from 'node:net';

/** Starts a server. Resolves when it listens; rejects if it cannot. Only its owner may use a Unix socket (mode 0600). */
export async function startListening(server: Server, where: ListenOptions): Promise<void> {
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
  });
  // The umask belongs to the whole process: it is changed only for the turn in which the socket is made.
  const umask = process.umask(0o177);
  try {
    server.listen(where);
  } finally {
    process.umask(umask);
  }
  await listening;
}

/** The actual port of a TCP server; 0 for a Unix socket. */
export function portOf(server: Server): number {
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}
