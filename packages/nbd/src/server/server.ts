import { Status } from '@raidkit/bdev';
import type { BdevRegistry, TimerHandle } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { SizeClassPool } from '@raidkit/parity';
import type { Socket } from 'node:net';
import type { Elsewhere, NegotiatingConnection } from './handoff.js';
import { NbdError } from '../errors.js';
import { NbdExport } from './export.js';
import { ServerQuota } from '../transmission/server-quota.js';
import { NbdConnection, connectionBytes, leastStagingBytes } from './connection.js';
import type { ConnectionHost, Handoff } from './connection.js';
import type { ListedExport } from '../wire/option-replies.js';
import { NbdRequestPool } from '../commands/request.js';
import type { Transport } from '../transport/transport.js';
import type { AddExportOptions, NbdExportInfo, NbdListener, NbdServerOptions, ServerVariant } from './server-options.js';
import { listen, nbdUri } from '../transport/listen.js';
import type { Listening, NbdAddress } from '../transport/listen.js';
import { tlsMode } from '../tls/credentials.js';
import { SocketTransport } from '../transport/socket-transport.js';
import { TlsAcceptor } from '../tls/acceptor.js';

/** Largest buffer of a piece of a request. */
const largestPieceBytes = 1024 * 1024;
const mostStagingBytes = 64 * 1024;
/** Blocks that a piece must be able to hold. */
const fewestPieceBlocks = 4;

/** An NBD server: bdevs under names, for clients on any number of sockets. */
export class NbdServer {
  readonly #registry: BdevRegistry;
  readonly #exports = new Map<string, NbdExport>();
  /** Exports that are on their way out, and still have the device open. */
  readonly #leaving = new Map<NbdExport, Promise<void>>();
  readonly #connections = new Set<NbdConnection>();
  readonly #handshakes = new Map<NbdConnection, { readonly timer: TimerHandle; readonly dueAt: number }>();
  readonly #listeners = new Set<NbdListener>();
  readonly #connectionMemory: BufferPool;
  readonly #host: ConnectionHost;
  readonly #elsewhere: Elsewhere | null;
  readonly #tlsAcceptor: TlsAcceptor | null;
  readonly #handshakeTimeoutMs: number;
  readonly #stallTimeoutMs: number;
  readonly #idleTimeoutMs: number;
  readonly #closeTimeoutMs: number;
  #sweepTimer: TimerHandle | null = null;
  #closing: Promise<void> | null = null;
  #onEmpty: (() => void) | null = null;

  /** Throws a `BufferMemoryError` if the runtime's memory has no room for the connections. */
  constructor(options: NbdServerOptions, { elsewhere, tls }: ServerVariant = { elsewhere: null, tls: tlsMode(options.tls) }) {
    const { registry } = options;
    const { runtime, buffers } = registry;
    this.#registry = registry;
    this.#elsewhere = elsewhere;
    this.#tlsAcceptor = options.tls === undefined ? null : new TlsAcceptor(options.tls.credentials);
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? 10_000;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? 10_000;
    this.#idleTimeoutMs = options.idleTimeoutMs ?? 0;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 5000;
    const maxBytes = Math.min(options.maxBytes ?? 512 * 1024 * 1024, Math.floor(capacity(buffers) / 2));
    const maxConnections = options.maxConnections ?? 256;
    const limits = {
      maxRequests: options.maxRequestsPerConnection ?? 256,
      maxBytes: Math.min(options.maxBytesPerConnection ?? 64 * 1024 * 1024, Math.floor(maxBytes / 4)),
      stagingBytes: stagingBytes(runtime.memory.bytes, maxConnections),
    };
    this.#connectionMemory = new BufferPool(runtime.memory, {
      slotBytes: connectionBytes(limits),
      count: maxConnections,
    });
    this.#host = {
      runtime,
      memory: runtime.memory,
      buffers,
      requests: new NbdRequestPool(),
      budget: new ServerQuota(runtime, maxBytes, options.maxRequests ?? 16_384),
      limits,
      pieceBytes: Math.min(largestPieceBytes, buffers.maxBytes),
      log: runtime.log,
      tls,
      maxOptions: options.maxOptions ?? 1024,
      find: (name) => this.#find(name),
      isElsewhere: (name) => elsewhere?.has(name) ?? false,
      list: () => this.#list(),
      onTransmission: (connection, target) => {
        this.#endHandshake(connection);
        target.attach(connection);
      },
      onLeft: (connection, departure) => this.#onLeft(connection, departure),
      onGone: (connection) => this.#onGone(connection),
    };
  }

  /** Whether clients without TLS are refused. */
  get isTlsRequired(): boolean {
    return this.#host.tls === 'require';
  }

  /** Clients at the moment. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** What is in flight, and what has ever been made for it: for tests and for people. */
  get usage(): { bytes: number; requests: number; requestObjects: number; requestObjectsOut: number } {
    const { budget, requests } = this.#host;
    return {
      bytes: budget.bytes,
      requests: budget.requests,
      requestObjects: requests.made,
      requestObjectsOut: requests.outstanding,
    };
  }

  /**
   * Opens the bdev and lets clients use it. Throws an `NbdError` if the name is taken or out of limits, and the `BdevError`
   * of an open that is refused. A bdev that goes away takes the export with it.
   */
  addExport(options: AddExportOptions): NbdExportInfo {
    this.checkOpen();
    const { name, description = '', isDefault = false, allocation = null } = options;
    if (this.#exports.has(name)) throw new NbdError('ERR_NBD_EXPORT_EXISTS', 17, `there is an NBD export ${name} already`);
    const other = [...this.#exports.values()].find((one) => one.isDefault);
    if (isDefault && other !== undefined) {
      throw new NbdError('ERR_NBD_EXPORT_EXISTS', 17, `the default NBD export is ${other.name} already`);
    }
    const bdev = typeof options.bdev === 'string' ? this.#registry.get(options.bdev) : options.bdev;
    if (bdev === undefined) {
      throw new NbdError('ERR_NBD_EXPORT_NOT_FOUND', Status.NoDevice, `there is no such bdev to export as ${name}`);
    }
    if (bdev.blockSize * fewestPieceBlocks > this.#host.pieceBytes) {
      throw new NbdError(
        'ERR_NBD_INVALID',
        Status.NoMemory,
        `the runtime's memory is too small for blocks of ${bdev.blockSize} bytes`,
      );
    }
    const isReadOnly = options.readOnly ?? (bdev.isReadOnly || bdev.claimedBy !== null);
    const added: NbdExport = new NbdExport(
      this.#registry,
      bdev,
      isReadOnly,
      { name, description, isDefault, allocation },
      (event) => {
        if (event.type === 'remove') void this.#remove(added);
      },
    );
    this.#exports.set(name, added);
    return exportInfo(added);
  }

  /** Takes the export away: answers what is in flight, closes its connections, and lets go of the bdev; resolves then. */
  async removeExport(name: string): Promise<void> {
    const found = this.#exports.get(name);
    if (found === undefined) throw new NbdError('ERR_NBD_EXPORT_NOT_FOUND', 2, `there is no NBD export ${name}`);
    await this.#remove(found);
  }

  /** In the order in which they were added. */
  exports(): NbdExportInfo[] {
    return [...this.#exports.values()].map(exportInfo);
  }

  /** Lets clients in. A Unix socket is for the owner alone; one that a dead server left behind is replaced. */
  async listen(address: NbdAddress): Promise<NbdListener> {
    this.checkOpen();
    const { log } = this.#registry.runtime;
    const listening = await listen(
      address,
      (socket) => this.#onSocket(socket),
      (error) => log.error({ address, err: error }, 'an NBD listener failed'),
    );
    return this.addListener(listening);
  }

  /** For transports: clients come in there from now on, until the server is closed. Throws, having closed it, if the server is. */
  addListener(listening: Listening): NbdListener {
    if (this.isClosing) {
      listening.close();
      this.checkOpen();
    }
    const listener: NbdListener = {
      address: listening.address,
      uri: (exportName) => nbdUri(listening.address, exportName, this.isTlsRequired),
      close: () => {
        if (this.#listeners.delete(listener)) listening.close();
      },
    };
    this.#listeners.add(listener);
    return listener;
  }

  /**
   * For transports: a client has come. Null if there is no room for it; then the transport closes the socket. The connection
   * has the greeting to send, unless the client comes from another server.
   */
  connect(transport: Transport, peer: string, from: NegotiatingConnection | null = null): NbdConnection | null {
    if (this.#closing !== null) return null;
    const addr = this.#connectionMemory.get();
    const { runtime } = this.#registry;
    if (addr < 0) {
      runtime.log.warn({ peer }, `NBD client turned away: there are ${this.#connections.size} connections`);
      return null;
    }
    const connection = new NbdConnection(this.#host, transport, addr, peer, from?.progress);
    this.#connections.add(connection);
    const timeoutMs = Math.min(from?.handshakeLeftMs ?? Infinity, this.#handshakeTimeoutMs);
    const timer = runtime.setTimer(() => connection.abort('the handshake took too long'), timeoutMs);
    this.#handshakes.set(connection, { timer, dueAt: runtime.now() + timeoutMs });
    this.#sweepLater();
    return connection;
  }

  /** Closes listeners, answers what is in flight, closes connections, and lets go of the bdevs. Resolves then. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const listener of [...this.#listeners]) listener.close();
    this.#endConnections([...this.#connections]);
    await Promise.all([...this.#exports.values()].map((one) => this.#remove(one)));
    await Promise.all(this.#leaving.values());
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    if (this.#sweepTimer !== null) this.#registry.runtime.clearTimer(this.#sweepTimer);
    this.#connectionMemory.close();
  }

  /** Nothing more is begun. */
  get isClosing(): boolean {
    return this.#closing !== null;
  }

  /** For transports: throws if the server is closed. */
  checkOpen(): void {
    if (this.isClosing) throw new NbdError('ERR_NBD_CLOSED', 108, 'the NBD server is closed');
  }

  #find(name: string): NbdExport | null {
    const found = this.#exports.get(name);
    if (found !== undefined || name !== '') return found ?? null;
    for (const one of this.#exports.values()) if (one.isDefault) return one;
    return null;
  }

  #list(): readonly ListedExport[] {
    const others = this.#elsewhere?.exports() ?? [];
    return [...this.#exports.values(), ...others.filter(({ name }) => !this.#exports.has(name))];
  }

  #remove(found: NbdExport): Promise<void> {
    const under = this.#leaving.get(found);
    if (under !== undefined) return under;
    if (this.#exports.get(found.name) === found) this.#exports.delete(found.name);
    this.#endConnections([...found.connections]);
    const leaving = found.close().then(() => void this.#leaving.delete(found));
    this.#leaving.set(found, leaving);
    return leaving;
  }

  /** Lets connections finish, for a while. */
  #endConnections(connections: NbdConnection[]): void {
    if (connections.length === 0) return;
    const { runtime } = this.#registry;
    for (const connection of connections) connection.callOff();
    runtime.setTimer(() => {
      for (const connection of connections) connection.abort('it did not fetch its last replies');
    }, this.#closeTimeoutMs);
  }

  #onSocket(socket: Socket): void {
    const transport = new SocketTransport(socket, this.#registry.runtime.memory, this.#tlsAcceptor);
    const peer = socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress} port ${socket.remotePort ?? 0}`;
    const connection = this.connect(transport, peer);
    if (connection === null) socket.destroy();
    else transport.start(connection);
  }

  #endHandshake(connection: NbdConnection): void {
    const handshake = this.#handshakes.get(connection);
    if (handshake === undefined) return;
    this.#handshakes.delete(connection);
    this.#registry.runtime.clearTimer(handshake.timer);
  }

  #onLeft(connection: NbdConnection, departure: Handoff): void {
    const dueAt = this.#handshakes.get(connection)?.dueAt ?? 0;
    this.#onGone(connection);
    this.#elsewhere?.take({ ...departure, handshakeLeftMs: Math.max(0, dueAt - this.#registry.runtime.now()) });
  }

  #onGone(connection: NbdConnection): void {
    this.#endHandshake(connection);
    this.#connections.delete(connection);
    this.#connectionMemory.put(connection.addr);
    connection.target?.detach(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  /** Looks after connections a few times per timeout, as long as there are any. */
  #sweepLater(): void {
    const shortest = Math.min(this.#stallTimeoutMs, this.#idleTimeoutMs || Infinity);
    this.#sweepTimer ??= this.#registry.runtime.setTimer(this.#sweep, shortest / 4);
  }

  readonly #sweep = (): void => {
    this.#sweepTimer = null;
    const now = this.#registry.runtime.now();
    const { isShort } = this.#host.budget;
    for (const connection of [...this.#connections]) {
      const silentMs = now - connection.progressAt;
      const holds = connection.slots > 0;
      if (isShort && holds && connection.isWaitingForPeer && silentMs >= this.#stallTimeoutMs) {
        connection.abort('it holds memory that others wait for, and does not move');
      } else if (this.#idleTimeoutMs > 0 && !holds && silentMs >= this.#idleTimeoutMs) {
        connection.abort('it was idle for too long');
      }
    }
    if (this.#connections.size > 0) this.#sweepLater();
  };
}

function exportInfo(one: NbdExport): NbdExportInfo {
  return {
    name: one.name,
    bdev: one.bdev.name,
    description: one.description,
    isDefault: one.isDefault,
    readOnly: one.isReadOnly,
    sizeBytes: one.sizeBytes,
    connections: one.connections.size,
    stats: { ...one.stats },
  };
}

/** Room for what comes in on one connection: all together take a sixteenth of the memory at most. */
function stagingBytes(memoryBytes: number, maxConnections: number): number {
  const share = Math.floor(memoryBytes / 16 / maxConnections / leastStagingBytes) * leastStagingBytes;
  return Math.max(leastStagingBytes, Math.min(share, mostStagingBytes));
}

/** Bytes that the pool's buffers hold which are free now. The pool does not say, so this takes all and puts them back. */
function capacity(buffers: SizeClassPool): number {
  const taken: number[] = [];
  let bytes = 0;
  for (let addr = buffers.get(1); addr >= 0; addr = buffers.get(1)) {
    taken.push(addr);
    bytes += buffers.slotBytesOf(addr);
  }
  for (const addr of taken) buffers.put(addr);
  return bytes;
}
