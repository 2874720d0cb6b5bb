import { loadSys, whyNoSys } from '@raidkit/sys';
import type { Ring } from '@raidkit/sys';
import { NbdServer } from '../server.js';
import type { NbdListener, NbdServerOptions } from '../server.js';
import { NbdError } from '../errors.js';
import { nbdUri } from './listen.js';
import type { NbdAddress } from './listen.js';
import { listenOnRing } from './ring-listen.js';
import type { RingTransport, RingTransportHost } from './ring-transport.js';

const scratchBytes = 64 * 1024;

/** Options of a {@link RingNbdServer}. */
export interface RingNbdServerOptions extends NbdServerOptions {
  /** Of the thread that the registry's runtime is of. */
  ring: Ring;
}

/** An NBD server whose sockets are served by a ring, without Node's streams. Otherwise the same. */
export class RingNbdServer extends NbdServer {
  readonly #host: RingTransportHost;
  readonly #ringListeners = new Set<NbdListener>();
  #isClosing = false;

  constructor(options: RingNbdServerOptions) {
    super(options);
    const { runtime } = options.registry;
    const sys = loadSys();
    if (sys === null) throw new Error(whyNoSys());
    const memoryAddr = sys.addressOf(runtime.memory.u8);
    const scratchAddr = runtime.memory.allocRegion(scratchBytes);
    if (scratchAddr < 0) throw new NbdError('ERR_NBD_INVALID', 12, "the runtime's memory is too small for an NBD server");
    this.#host = { ring: options.ring, sys, runtime, memoryAddr, scratchAddr, scratchBytes };
  }

  override async listen(address: NbdAddress): Promise<NbdListener> {
    this.#checkOpen();
    const { log } = this.#host.runtime;
    const listening = await listenOnRing(
      this.#host,
      address,
      (transport, peer) => this.#onClient(transport, peer),
      (error) => log.error({ address, err: error }, 'an NBD listener failed'),
    );
    if (this.#isClosing) {
      listening.close();
      this.#checkOpen();
    }
    const listener: NbdListener = {
      address: listening.address,
      uri: (exportName) => nbdUri(listening.address, exportName),
      close: () => {
        if (this.#ringListeners.delete(listener)) listening.close();
      },
    };
    this.#ringListeners.add(listener);
    return listener;
  }

  override async close(): Promise<void> {
    const isFirst = !this.#isClosing;
    this.#isClosing = true;
    for (const listener of [...this.#ringListeners]) listener.close();
    await super.close();
    if (isFirst) this.#host.runtime.memory.freeRegion(this.#host.scratchAddr);
  }

  #onClient(transport: RingTransport, peer: string): void {
    const connection = this.connect(transport, peer);
    if (connection === null) transport.refuse();
    else transport.start(connection);
  }

  #checkOpen(): void {
    if (this.#isClosing) throw new NbdError('ERR_NBD_CLOSED', 108, 'the NBD server is closed');
  }
}
