import { LookTimer, Status } from '@raidkit/bdev';
import type { BdevEvent, BdevRegistry } from '@raidkit/bdev';
import { BufferPool } from '@raidkit/parity';
import type { SizeClassPool } from '@raidkit/parity';
import type { Socket } from 'node:net';
import { HandshakeTurns } from '../handshake/handshake-turns.js';
import type { PeerServers, ConnectionHandoff } from './handoff.js';
import { NbdError } from '../errors.js';
import { NbdExport } from './export.js';
import { Turns } from '../transmission/turns.js';
import { QuotaShare, ServerQuota } from '../transmission/server-quota.js';
import { Admission } from './admission.js';
import type { ClientOrigin } from './admission.js';
import { LogLimit } from './log-limit.js';
import { StallWatch } from './stall-watch.js';
import type { ExportUser, NbdExportStats } from './export.js';
import { accessOf, listenerName } from './rights.js';
import type { ClientIdentity } from '../handshake/identity.js';
import { NbdConnection, connectionBytes } from './connection.js';
import { leastStagingBytes } from '../transmission/host.js';
import type { ConnectionHost, Handoff } from './connection.js';
import type { ListedExport } from '../wire/option-replies.js';
import { NbdRequestPool } from '../commands/request.js';
import type { Transport, TransportedConnection } from '../transport/transport.js';
import type {
  AddExportOptions,
  NbdClientInfo,
  NbdExportInfo,
  NbdListener,
  NbdServerOptions,
  ServerVariant,
} from './server-options.js';
import { listen, nbdUri } from '../transport/listen.js';
import type { Listening, NbdAddress } from '../transport/listen.js';
import { tlsMode } from '../tls/credentials.js';
import type { TlsCredentials } from '../tls/credentials.js';
import { SocketTransport } from '../transport/socket-transport.js';
import { TlsAcceptor } from '../tls/acceptor.js';

/** Largest buffer of one piece of a request, in bytes. */
const largestPieceBytes = 1024 * 1024;
const mostStagingBytes = 64 * 1024;
/** Number of blocks that must fit into the buffer of a piece. */
const fewestPieceBlocks = 4;
/**
 * While more bytes of replies than this wait to be sent to a client, its further requests get no buffers. Does not apply to
 * writes.
 */
const mostUnsentBytes = 4 * 1024 * 1024;
/** Number of clients that may be in their handshake at a time in any case, as a fraction of `maxConnections`. */
const handshakePart = 1 / 2;
/** The same as a number, if the fraction is less. */
const fewestHandshakes = 16;
/** Number of further clients for which there is memory, because clients that are closing without an export still use theirs. */
const closingPlaces = 16;
/** A client whose handshake takes longer than this may be dropped for another client of its own address. Milliseconds. */
const quickHandshakeMs = 1000;
/** The fair share of memory is that of at least this many clients. */
const fewestSharers = 8;
/** Connections are checked this many times per shortest timeout. */
const sweepsPerTimeout = 16;
/** Most milliseconds between two checks. A check that is late shows how long the process did not run. */
const mostSweepMs = 1000;
/** Fraction of the memory that the clients of one export may hold together. */
const exportPart = 3 / 4;

/** An NBD server: exports bdevs under names, to clients of any number of sockets. */
export class NbdServer {
  readonly #registry: BdevRegistry;
  readonly #exports = new Map<string, NbdExport>();
  /** Exports that are being removed and still have their device open. */
  readonly #leaving = new Map<NbdExport, Promise<void>>();
  readonly #connections = new Set<NbdConnection>();
  /** Clients in their handshake, in the order in which they began it. */
  readonly #handshakes = new Map<NbdConnection, { readonly timer: LookTimer; dueAt: number; begunAt: number }>();
  /** Sum of the counters of removed exports. */
  #formerStats: NbdExportStats = { ...noStats };
  readonly #admission: Admission;
  readonly #maxHandshakes: number;
  readonly #stalls: StallWatch;
  readonly #fewMessages: LogLimit;
  readonly #listeners = new Set<NbdListener>();
  readonly #connectionMemory: BufferPool;
  readonly #host: ConnectionHost;
  readonly #peers: PeerServers | null;
  readonly #tlsAcceptor: TlsAcceptor | null;
  readonly #handshakeTimeoutMs: number;
  readonly #stallTimeoutMs: number;
  readonly #idleTimeoutMs: number;
  readonly #closeTimeoutMs: number;
  readonly #sweepTimer = new LookTimer(
    () => this.#sweep(),
    (lateMs) => this.#excuse(lateMs),
  );
  #closing: Promise<void> | null = null;
  #onEmpty: (() => void) | null = null;

  /** Throws a `BufferMemoryError` if the runtime's memory has no room for the connections. */
  constructor(options: NbdServerOptions, { peers, tls }: ServerVariant = { peers: null, tls: tlsMode(options.tls) }) {
    const { registry } = options;
    const { runtime, buffers } = registry;
    this.#registry = registry;
    this.#peers = peers;
    this.#tlsAcceptor = options.tls === undefined ? null : new TlsAcceptor(options.tls.credentials);
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? 10_000;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? 10_000;
    this.#stalls = new StallWatch(this.#stallTimeoutMs);
    this.#idleTimeoutMs = options.idleTimeoutMs ?? 0;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 5000;
    const maxBytes = Math.min(options.maxBytes ?? 512 * 1024 * 1024, Math.floor(capacity(buffers) / 2));
    const maxConnections = options.maxConnections ?? 256;
    const limits = {
      maxRequests: options.maxRequestsPerConnection ?? 256,
      maxBytes: Math.min(options.maxBytesPerConnection ?? 64 * 1024 * 1024, Math.floor(maxBytes / 4)),
      maxUnsentBytes: Math.min(mostUnsentBytes, Math.floor(maxBytes / 16)),
      stagingBytes: stagingBytes(runtime.memory.bytes, maxConnections),
    };
    const quota = new ServerQuota(runtime, { maxBytes, maxRequests: options.maxRequests ?? 16_384, maxUsers: maxConnections });
    this.#admission = new Admission({
      maxConnections,
      maxConnectionsPerPeer: options.maxConnectionsPerPeer ?? Math.ceil(maxConnections / 2),
      commonBytes: quota.commonBytes,
    });
    this.#maxHandshakes = Math.max(fewestHandshakes, Math.ceil(maxConnections * handshakePart));
    this.#fewMessages = new LogLimit(runtime.log, runtime);
    this.#connectionMemory = new BufferPool(runtime.memory, {
      slotBytes: connectionBytes(limits),
      count: maxConnections + this.#maxHandshakes + closingPlaces,
    });
    this.#host = {
      runtime,
      memory: runtime.memory,
      buffers,
      requests: new NbdRequestPool(),
      budget: quota,
      turns: new Turns(runtime),
      limits,
      pieceBytes: Math.min(largestPieceBytes, buffers.maxBytes),
      log: this.#fewMessages,
      handshakeTurns: new HandshakeTurns(runtime),
      tls,
      maxOptions: options.maxOptions ?? 1024,
      find: (name, client) => this.#find(name, client),
      isOnPeer: (name, client) => this.#isOnPeer(name, client),
      list: (client) => this.#list(client),
      onTransmission: (connection, target) => this.#onTransmission(connection, target),
      onLeft: (connection, departure) => this.#onLeft(connection, departure),
      onGone: (connection) => this.#onGone(connection),
    };
  }

  /**
   * Uses these credentials for all TLS handshakes from now on; existing connections keep theirs. Has no effect if the server
   * has no TLS or if a `TlsTerminator` does it.
   */
  renewTls(credentials: TlsCredentials): void {
    this.#tlsAcceptor?.renew(credentials);
  }

  /** Whether clients without TLS are refused. */
  get isTlsRequired(): boolean {
    return this.#host.tls === 'require';
  }

  /** Number of clients, including those in their handshake. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Buffer bytes and requests in flight, and request objects created so far and in use. For tests and diagnostics. */
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
   * Opens the bdev and lets clients use it. Throws an `NbdError` if the name is taken or too long, and a `BdevError` if the
   * bdev cannot be opened. If the bdev is removed, so is the export.
   */
  addExport(options: AddExportOptions): NbdExportInfo {
    this.checkOpen();
    const { name, description = '', isDefault = false, clients = null, allocation = null } = options;
    if (this.#exports.has(name))
      throw new NbdError('ERR_NBD_EXPORT_EXISTS', Status.Exists, `an NBD export ${name} exists already`);
    const other = [...this.#exports.values()].find((one) => one.isDefault);
    if (isDefault && other !== undefined) {
      throw new NbdError('ERR_NBD_EXPORT_EXISTS', Status.Exists, `the default NBD export is ${other.name} already`);
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
    const share = new QuotaShare(Math.floor(this.#host.budget.commonBytes * exportPart));
    const details = { name, description, isDefault, clients, allocation, share };
    const onEvent = (event: BdevEvent): void => {
      if (event.type === 'remove') void this.#remove(added);
    };
    const added: NbdExport = new NbdExport(this.#registry, bdev, isReadOnly, details, onEvent);
    if (!isReadOnly && clients?.some(({ readOnly }) => readOnly === true) === true) {
      try {
        added.readers = new NbdExport(this.#registry, bdev, true, details, onEvent);
      } catch (error) {
        added.descriptor.close();
        throw error;
      }
    }
    this.#exports.set(name, added);
    return exportInfo(added);
  }

  /**
   * Removes the export: answers requests in flight but stops trims and write zeroes, closes the connections, and closes the
   * bdev's descriptor. Resolves then. Rejects with `ERR_NBD_EXPORT_NOT_FOUND` if there is no such export.
   */
  async removeExport(name: string): Promise<void> {
    const found = this.#exports.get(name);
    if (found === undefined) throw new NbdError('ERR_NBD_EXPORT_NOT_FOUND', Status.NotFound, `there is no NBD export ${name}`);
    await this.#remove(found);
  }

  /** Returns the exports in the order in which they were added. */
  exports(): NbdExportInfo[] {
    return [...this.#exports.values()].map(exportInfo);
  }

  /**
   * Returns the sum of all exports' counters since the server was created, including removed exports, and the number of
   * clients.
   */
  traffic(): NbdExportStats & { connections: number } {
    const there = [...this.#exports.values(), ...this.#leaving.keys()];
    const all = there.flatMap(({ readers, stats }) => (readers === null ? [stats] : [stats, readers.stats]));
    return { ...all.reduce(sum, this.#formerStats), connections: this.#connections.size };
  }

  /** Returns the clients that use exports, in the order in which they connected. */
  clients(): NbdClientInfo[] {
    const now = this.#registry.runtime.now();
    return [...this.#connections].flatMap(({ client, heldBytes: bytes, peer, since, slots: requests, target }) => {
      if (client === null || target === null) return [];
      const { name: exportName, isReadOnly: readOnly } = target;
      return { exportName, peer, ...client, readOnly, seconds: (now - since) / 1000, requests, bytes };
    });
  }

  /**
   * Starts to accept clients. Only its owner can connect to a Unix socket. A socket file on which no server listens is
   * replaced.
   */
  async listen(address: NbdAddress): Promise<NbdListener> {
    this.checkOpen();
    const { log } = this.#registry.runtime;
    let name = listenerName(address);
    const listening = await listen(
      address,
      (socket) => this.#onSocket(socket, name),
      (error) => log.error({ address, err: error }, 'an NBD listener failed'),
    );
    name = listenerName(listening.address);
    return this.addListener(listening);
  }

  /**
   * For transports: adds an open listener, which `close` will close. If the server has been closed already, closes the listener
   * and throws.
   */
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
   * For transports: called when a client has connected to the listener with this `listenerName`. Returns null if it is refused;
   * the transport then closes the socket. The connection starts by sending the greeting, unless `from` says that it continues a
   * handshake of another server.
   */
  connect(
    transport: Transport,
    peer: string,
    listener: string,
    from: ConnectionHandoff | null = null,
  ): TransportedConnection | null {
    if (this.#closing !== null) return null;
    const { runtime } = this.#registry;
    const origin = this.#admission.originOf(peer);
    const refusal = this.#admission.refusal(origin) ?? this.#makeRoom(origin);
    const addr = refusal === null ? this.#connectionMemory.get() : -1;
    if (addr < 0) {
      this.#fewMessages.log('warn', { peer }, `NBD client refused: ${refusal ?? 'there is no memory for it'}`);
      return null;
    }
    const connection = new NbdConnection(this.#host, transport, addr, peer, listener, origin, from?.progress);
    this.#connections.add(connection);
    this.#admission.beginHandshake(origin);
    const timeoutMs = Math.min(from?.handshakeLeftMs ?? Infinity, this.#handshakeTimeoutMs);
    const timer = new LookTimer(() => connection.abort('the handshake took too long'));
    const begunAt = runtime.now();
    const dueAt = begunAt + timeoutMs;
    timer.set(runtime, dueAt);
    this.#handshakes.set(connection, { timer, dueAt, begunAt });
    this.#sweepLater();
    return connection;
  }

  /**
   * Makes room for the handshake of a newcomer and returns null, or returns why there is none. If as many handshakes as possible
   * are under way, drops the oldest one of the address that has most of them. A newcomer from that same address only displaces
   * one that has taken longer than `quickHandshakeMs`.
   *
   * Clients that have been dropped or refused use memory until their transport is closed. They have `closingPlaces` and the
   * places of handshakes that are free, because otherwise they would take the memory of the clients that use exports.
   */
  #makeRoom(newcomer: ClientOrigin): string | null {
    const mostHandshakes = this.#mostHandshakes(newcomer);
    const closing = this.#connections.size - this.#admission.connections - this.#handshakes.size;
    if (closing >= closingPlaces + Math.max(0, mostHandshakes - this.#handshakes.size)) {
      return `${this.#handshakes.size} clients are in the handshake and ${closing} are closing`;
    }
    if (this.#handshakes.size < mostHandshakes) return null;
    let oldest: NbdConnection | null = null;
    for (const connection of this.#handshakes.keys()) {
      if (oldest === null || connection.origin.handshakes > oldest.origin.handshakes) oldest = connection;
    }
    const handshake = oldest === null ? undefined : this.#handshakes.get(oldest);
    const isQuick = handshake !== undefined && this.#registry.runtime.now() - handshake.begunAt < quickHandshakeMs;
    if (oldest === null || (oldest.origin === newcomer && isQuick)) {
      return `${this.#handshakes.size} clients are in the handshake`;
    }
    this.#endHandshake(oldest);
    oldest.abort('other clients wait for a handshake');
    return null;
  }

  /**
   * Returns the number of handshakes that may be under way when another client of this origin connects. It is more than
   * `#maxHandshakes` while few clients use exports, so that all who may use them can connect at the same moment. Clients of Unix
   * sockets can do so even if network clients have begun `#maxHandshakes`.
   */
  #mostHandshakes(origin: ClientOrigin): number {
    const room = this.#admission.room(origin);
    return origin.isLocal ? this.#maxHandshakes + room : Math.max(this.#maxHandshakes, room);
  }

  #onTransmission(connection: NbdConnection, target: NbdExport): void {
    const refusal = this.#admission.refusal(connection.origin);
    if (refusal === null) {
      this.#admission.enter(connection.origin);
      target.attach(connection);
    }
    this.#endHandshake(connection);
    if (refusal !== null) connection.abort(refusal);
  }

  /**
   * Closes the listeners, answers requests in flight but stops trims and write zeroes, closes the connections, and closes the
   * descriptors of the bdevs. Resolves then.
   */
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
    this.#sweepTimer.clear();
    this.#connectionMemory.close();
  }

  /** Whether `close` has been called. */
  get isClosing(): boolean {
    return this.#closing !== null;
  }

  /** For transports: throws if the server is closed. */
  checkOpen(): void {
    if (this.isClosing) throw new NbdError('ERR_NBD_CLOSED', Status.ShutDown, 'the NBD server is closed');
  }

  #find(name: string, client: ClientIdentity): NbdExport | null {
    let found = this.#exports.get(name);
    if (name === '') found ??= [...this.#exports.values()].find((one) => one.isDefault);
    if (found === undefined) return null;
    const access = accessOf(found.clients, client);
    if (access === 'none') return null;
    return access === 'read' ? (found.readers ?? found) : found;
  }

  #isOnPeer(name: string, client: ClientIdentity): boolean {
    if (this.#peers?.has(name) !== true) return false;
    const listed = this.#peers.exports().find((one) => one.name === name);
    // Default exports are not listed under the empty name. Their server checks the rights.
    return listed === undefined || accessOf(listed.clients, client) !== 'none';
  }

  #list(client: ClientIdentity): readonly ListedExport[] {
    const others = (this.#peers?.exports() ?? []).filter(({ name }) => !this.#exports.has(name));
    return [...this.#exports.values(), ...others].filter(({ clients }) => accessOf(clients, client) !== 'none');
  }

  #remove(found: NbdExport): Promise<void> {
    const under = this.#leaving.get(found);
    if (under !== undefined) return under;
    if (this.#exports.get(found.name) === found) this.#exports.delete(found.name);
    const both = found.readers === null ? [found] : [found, found.readers];
    this.#endConnections(both.flatMap(({ connections }) => [...connections]));
    const leaving = Promise.all(both.map((one) => one.close())).then(() => {
      this.#leaving.delete(found);
      for (const { stats } of both) this.#formerStats = sum(this.#formerStats, stats);
    });
    this.#leaving.set(found, leaving);
    return leaving;
  }

  /** Lets connections finish, and drops those that have not done so within `closeTimeoutMs`. */
  #endConnections(connections: ExportUser[]): void {
    if (connections.length === 0) return;
    const { runtime } = this.#registry;
    for (const connection of connections) connection.callOff();
    const timer = new LookTimer(() => {
      for (const connection of connections) connection.abort('it did not read its last replies');
    });
    timer.set(runtime, runtime.now() + this.#closeTimeoutMs);
  }

  #onSocket(socket: Socket, listener: string): void {
    const transport = new SocketTransport(socket, this.#registry.runtime.memory, this.#tlsAcceptor);
    const peer = socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress} port ${socket.remotePort ?? 0}`;
    const connection = this.connect(transport, peer, listener);
    if (connection === null) socket.destroy();
    else transport.start(connection);
  }

  #endHandshake(connection: NbdConnection): void {
    const handshake = this.#handshakes.get(connection);
    if (handshake === undefined) return;
    this.#handshakes.delete(connection);
    handshake.timer.clear();
    this.#admission.endHandshake(connection.origin);
  }

  #onLeft(connection: NbdConnection, departure: Handoff): void {
    const handshake = this.#handshakes.get(connection);
    // After a time in which the process did not run this may be called before the timer's own look, which would be put off.
    const leftMs = handshake === undefined ? 0 : handshake.timer.leftMs(this.#registry.runtime);
    this.#onGone(connection);
    this.#peers?.take({ ...departure, handshakeLeftMs: leftMs });
  }

  #onGone(connection: NbdConnection): void {
    this.#endHandshake(connection);
    this.#connections.delete(connection);
    this.#connectionMemory.put(connection.addr);
    this.#stalls.forget(connection);
    if (connection.target?.detach(connection) === true) this.#admission.leave(connection.origin);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  /** Schedules the next check of connections, unless it is scheduled already. */
  #sweepLater(): void {
    if (this.#sweepTimer.dueAt < Infinity) return;
    const { runtime } = this.#registry;
    const shortest = Math.min(this.#stallTimeoutMs, this.#idleTimeoutMs || Infinity);
    this.#sweepTimer.set(runtime, runtime.now() + Math.min(shortest / sweepsPerTimeout, mostSweepMs));
  }

  /** The process did not run for this long, which counts for no time limit of a client. */
  #excuse(lateMs: number): void {
    const { runtime } = this.#registry;
    const stoppedAt = runtime.now() - lateMs;
    this.#stalls.excuse(lateMs);
    for (const connection of this.#connections) connection.excuse(lateMs, stoppedAt);
    for (const handshake of this.#handshakes.values()) {
      if (handshake.begunAt > stoppedAt) continue;
      handshake.begunAt += lateMs;
      handshake.dueAt += lateMs;
      handshake.timer.set(runtime, handshake.dueAt);
    }
  }

  #sweep(): void {
    const now = this.#registry.runtime.now();
    const { isShort, commonBytes } = this.#host.budget;
    const fairBytes = commonBytes / Math.max(fewestSharers, this.#connections.size);
    for (const connection of [...this.#connections]) {
      if (this.#stalls.isStalled(connection, now, fairBytes) && isShort) {
        connection.abort('it holds memory that other clients wait for, and makes too little progress');
      } else if (this.#idleTimeoutMs > 0 && connection.slots === 0 && now - connection.progressAt >= this.#idleTimeoutMs) {
        connection.abort('it was idle for too long');
      }
    }
    if (this.#connections.size > 0) this.#sweepLater();
  }
}

function exportInfo(one: NbdExport): NbdExportInfo {
  return {
    name: one.name,
    bdev: one.bdev.name,
    description: one.description,
    isDefault: one.isDefault,
    readOnly: one.isReadOnly,
    clients: one.clients,
    sizeBytes: one.sizeBytes,
    connections: one.connections.size + (one.readers?.connections.size ?? 0),
    stats: one.readers === null ? { ...one.stats } : sum(one.stats, one.readers.stats),
  };
}

const noStats: Readonly<NbdExportStats> = {
  readRequests: 0,
  writeRequests: 0,
  otherRequests: 0,
  readBytes: 0,
  writtenBytes: 0,
  errors: 0,
};

function sum(a: NbdExportStats, b: NbdExportStats): NbdExportStats {
  return {
    readRequests: a.readRequests + b.readRequests,
    writeRequests: a.writeRequests + b.writeRequests,
    otherRequests: a.otherRequests + b.otherRequests,
    readBytes: a.readBytes + b.readBytes,
    writtenBytes: a.writtenBytes + b.writtenBytes,
    errors: a.errors + b.errors,
  };
}

/**
 * Returns the size of each connection's staging area, in bytes. `maxConnections` of them take at most a sixteenth of the
 * memory, unless that is less than `leastStagingBytes` for each.
 */
function stagingBytes(memoryBytes: number, maxConnections: number): number {
  const share = Math.floor(memoryBytes / 16 / maxConnections / leastStagingBytes) * leastStagingBytes;
  return Math.max(leastStagingBytes, Math.min(share, mostStagingBytes));
}

/**
 * Returns the bytes of all buffers that are free in the pool. The pool does not report this, so the function takes all buffers
 * and puts them back.
 */
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
