import type { ListenOptions, Server } from 'node:net';

/** Resolves when the server listens; rejects if it cannot. A Unix socket is for its owner alone (mode 0600). */
export async function startListening(server: Server, where: ListenOptions): Promise<void> {
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
  });
  // The whole process has one: it is changed for the turn in which the socket is made, and for no other.
  const umask = process.umask(0o177);
  try {
    server.listen(where);
  } finally {
    process.umask(umask);
  }
  await listening;
}

/** The port that a server on TCP has got; 0 for one on a path. */
export function portOf(server: Server): number {
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? bound.port : 0;
}
