import { Status } from '@raidkit/bdev';
import { loadSys, whyNoSys } from '@raidkit/sys';
import type { Ring } from '@raidkit/sys';
import type { PeerServers, ConnectionHandoff } from './handoff.js';
import { listenerName } from './rights.js';
import { NbdServer } from './server.js';
import type { NbdListener, NbdServerOptions } from './server-options.js';
import { NbdError } from '../errors.js';
import { tlsMode } from '../tls/credentials.js';
import type { NbdAddress } from '../transport/listen.js';
import { listenOnRing } from '../transport/ring-listen.js';
import { RingTransport } from '../transport/ring-transport.js';
import type { RingTransportHost } from '../transport/ring-transport.js';
import type { TransportedConnection } from '../transport/transport.js';
import type { TlsHandover } from '../tls/terminator.js';

const scratchBytes = 64 * 1024;

/** Options of a {@link RingNbdServer}. */
export interface RingNbdServerOptions extends Omit<NbdServerOptions, 'tls'> {
  /** The ring of the registry's thread. */
  ring: Ring;
  /** Servers of other threads, to which clients that ask for their exports are moved. Default: none. */
  peers?: PeerServers;
  /**
   * Offers TLS as {@link NbdServer} does, but a `TlsTerminator` in another thread must do it, because this one sleeps in the
   * ring. `take` passes a client on to it. It is called from inside the server, and owns both descriptors from then on.
   */
  tls?: { isRequired: boolean; take(client: TlsHandover): void };
}

/** An NBD server whose sockets are served by a ring instead of Node's streams. Everything else is the same. */
export class RingNbdServer extends NbdServer {
  readonly #host: RingTransportHost;

  constructor(options: RingNbdServerOptions) {
    const { tls, peers = null, ...rest } = options;
    super(rest, { peers, tls: tlsMode(tls) });
    const { runtime } = options.registry;
    const sys = loadSys();
    if (sys === null) throw new Error(whyNoSys());
    const memoryAddr = sys.addressOf(runtime.memory.u8);
    const scratchAddr = runtime.memory.allocRegion(scratchBytes);
    if (scratchAddr < 0)
      throw new NbdError('ERR_NBD_INVALID', Status.NoMemory, "the runtime's memory is too small for an NBD server");
    const startTls = tls === undefined ? null : (client: TlsHandover): void => tls.take(client);
    this.#host = { ring: options.ring, sys, runtime, memoryAddr, scratchAddr, scratchBytes, startTls };
  }

  override async listen(address: NbdAddress): Promise<NbdListener> {
    this.checkOpen();
    const { log } = this.#host.runtime;
    let name = listenerName(address);
    const listening = await listenOnRing(
      this.#host,
      address,
      (transport, peer) => this.#begin(transport, this.connect(transport, peer, name)),
      (error) => log.error({ address, err: error }, 'an NBD listener failed'),
    );
    name = listenerName(listening.address);
    return this.addListener(listening);
  }

  /**
   * Continues with a client that another server has passed on. The server owns the client's socket in any case, and closes it
   * if the client is refused or the server is closed.
   */
  adopt(connection: ConnectionHandoff): void {
    const { fd, peer, progress, unread } = connection;
    if (this.isClosing) {
      this.#host.sys.close(fd);
      return;
    }
    const transport = new RingTransport(this.#host, fd);
    this.#begin(transport, this.connect(transport, peer, progress.client.listener, connection), unread);
  }

  override async close(): Promise<void> {
    const isFirst = !this.isClosing;
    await super.close();
    if (isFirst) this.#host.runtime.memory.freeRegion(this.#host.scratchAddr);
  }

  #begin(transport: RingTransport, connection: TransportedConnection | null, early?: Uint8Array): void {
    if (connection === null) transport.refuse();
    else transport.start(connection, early);
  }
}
