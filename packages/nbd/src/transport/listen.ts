import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, isIPv6 } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { NbdError } from '../errors.js';
import { checkSocketFolder } from './socket-folder.js';

const { EADDRINUSE, EEXIST, EINVAL, ENAMETOOLONG } = constants.errno;

/** Where to listen: a Unix socket, or a TCP port of an address or host name. Port 0 means any free port. */
export type NbdAddress = { unix: string } | { host: string; port: number };

/** An open listener. */
export interface Listening {
  /** The address with the port that is really in use. */
  readonly address: NbdAddress;
  /** Accepts no further connections; existing ones stay. The path of a Unix socket can be used again at once. */
  close(): void;
}

/**
 * Number of connections that wait to be accepted. The system limits it to net.core.somaxconn, which is 4096 by default. If the
 * queue of a Unix socket is full, non-blocking clients such as libnbd fail with EAGAIN.
 */
export const backlog = 4096;
/** Longest path of a Unix socket on Linux, in bytes without the NUL (unix(7)). */
const maxPathBytes = 107;
export const keepAliveMs = 60_000;

/** Starts to listen. Rejects with an `NbdError` that says what is wrong with the address. */
export async function listen(
  address: NbdAddress,
  onSocket: (socket: Socket) => void,
  onError: (error: Error) => void,
): Promise<Listening> {
  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs },
    onSocket,
  );
  if ('unix' in address) await freeUnixPath(address.unix);
  try {
    await started(server, address);
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    const message = `cannot listen on ${addressText(address)}: ${code || String(cause)}`;
    throw new NbdError('ERR_NBD_ADDRESS', -((cause as NodeJS.ErrnoException).errno ?? -EINVAL), message, { cause });
  }
  server.on('error', onError);
  return {
    address: 'unix' in address ? address : { host: address.host, port: (server.address() as AddressInfo).port },
    close: () => void server.close(),
  };
}

/** Returns the address for messages. */
export function addressText(address: NbdAddress): string {
  return 'unix' in address ? address.unix : `${address.host} port ${address.port}`;
}

/** Returns the URI of an export at an address, as the NBD URI specification defines it. */
export function nbdUri(address: NbdAddress, exportName: string, isTls = false): string {
  const name = encodeURIComponent(exportName);
  const scheme = isTls ? 'nbds' : 'nbd';
  if ('unix' in address) return `${scheme}+unix:///${name}?socket=${encodeURIComponent(address.unix).replaceAll('%2F', '/')}`;
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `${scheme}://${host}:${address.port}/${name}`;
}

function started(server: Server, address: NbdAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.removeListener('error', reject);
      resolve();
    });
    if ('unix' in address) listenPrivately(server, address.unix, backlog);
    else server.listen({ host: address.host, port: address.port, backlog });
  });
}

/** A `net.Server`, without its types: a consumer may not have those of Node. */
interface PathListener {
  readonly listening: boolean;
  listen(options: { path: string; backlog?: number | undefined }): unknown;
}

/**
 * Listens on a Unix socket that only its owner can connect to. Node binds within the call of `listen`, so the umask applies to
 * nothing else.
 */
export function listenPrivately(server: PathListener, path: string, backlog?: number): void {
  if (!isMainThread) {
    // A worker cannot set the umask, so the mode is changed right after the socket has been bound.
    server.listen({ path, backlog });
    if (server.listening) chmodSync(path, 0o600);
    return;
  }
  // The umask belongs to the whole process: it is changed only for the turn in which the socket is made.
  const mask = process.umask(0o177);
  try {
    server.listen({ path, backlog });
  } finally {
    process.umask(mask);
  }
}

/** Removes a socket file that a dead server left behind. Rejects if a server answers on it, or if it is not a socket. */
export async function freeUnixPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > maxPathBytes || path === '') {
    throw new NbdError('ERR_NBD_ADDRESS', ENAMETOOLONG, `the path of a Unix socket has 1 to ${maxPathBytes} bytes: ${path}`);
  }
  checkSocketFolder(path);

  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new NbdError('ERR_NBD_ADDRESS', EEXIST, `${path} exists and is not a socket`);
  if (await isAnswered(path)) throw new NbdError('ERR_NBD_ADDRESS', EADDRINUSE, `another server listens on ${path}`);
  unlinkSync(path);
}

/** Resolves to false only if the system reports that nothing listens there. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}
