import { createServer } from 'node:net';
import type { ListenOptions, Socket } from 'node:net';
import { LookTimer } from '@raidkit/bdev';
import type { Logger } from '@raidkit/bdev';
import { nodeClock } from '@raidkit/bdev/node';
import { LogLimit, freeUnixPath } from '@raidkit/nbd';
import { portOf, startListening } from '../listening.js';
import { isLoopback } from '../loopback.js';
import { serveConnection } from './connection.js';
import type { Caller } from './dispatcher.js';

/** Limit of simultaneous clients, the same as SPDK's. */
const maxClients = 64;
/** Milliseconds that a stop waits for clients to read their answers. */
const lastAnswersMs = 2000;

/** A listening control socket. */
export interface RpcListener {
  readonly address: string;
  /** Stops listening, and ends each connection after the answers in progress, if the client reads them. */
  close(): Promise<void>;
}

/** Address to listen at: a Unix socket's path, or a TCP address. */
export type RpcAddress = { path: string } | { host: string; port: number };

/**
 * Serves a control socket. Only its owner may use a Unix socket (mode 0600). A socket that a dead daemon left is replaced; if
 * one answers or its queue is full, throws an `NbdError` with EADDRINUSE. TCP is only for loopback addresses: throws for
 * others.
 */
export async function listenRpc(address: RpcAddress, caller: Caller, log: Logger): Promise<RpcListener> {
  if ('path' in address) {
    await freeUnixPath(address.path);
  } else {
    if (!isLoopback(address.host)) {
      throw new Error(
        `the control socket has no authentication, and every client that can reach ${address.host} could do everything: use a loopback address, and reach it from elsewhere through ssh -L`,
      );
    }
    log.warn(
      { ...address },
      'the control socket is on TCP, without authentication: every user of this machine can do everything',
    );
  }
  const sockets = new Set<Socket>();
  const fewMessages = new LogLimit(log, performance);
  const server = createServer((socket) => {
    if (sockets.size >= maxClients) {
      fewMessages.log('warn', {}, `an RPC client was refused: ${maxClients} are connected already`);
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serveConnection(socket, caller, log, fewMessages);
  });
  const where: ListenOptions = { ...address, backlog: 512 };
  await startListening(server, where);
  return {
    address: 'path' in address ? address.path : `${address.host}:${portOf(server)}`,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroySoon();
      const timer = new LookTimer(() => {
        for (const socket of sockets) socket.destroy();
      });
      timer.set(nodeClock, nodeClock.now() + lastAnswersMs);
      await closed;
      timer.clear();
    },
  };
}
