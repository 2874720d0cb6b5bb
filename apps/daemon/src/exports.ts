import { Status } from '@raidkit/bdev';
import type { Bdev, BdevRegistry, JsonObject, Logger } from '@raidkit/bdev';
import { NbdError, NbdServer, listenerName, nbdUri } from '@raidkit/nbd';
import type { ClientRule, NbdListener } from '@raidkit/nbd';
import { isLoopback } from './loopback.js';
import { OwnNames } from './shared-names.js';
import type { NameTable } from './shared-names.js';
import type { SharedExport } from './shared-state.js';

/** Address at which NBD clients are served: a Unix socket's path, or a TCP address. */
export type NbdAddress = { unix: string } | { host: string; port: number };

/** Told of exports that are added and removed. */
export interface ExportWatch {
  readonly names: NameTable;
  exported(one: SharedExport): void;
  unexported(name: string): void;
}

/** Returns, in words for people, what a volume is a member of; null if of nothing. Rejects if that cannot be determined now. */
export type MemberFinder = (bdev: Bdev) => Promise<string | null>;

/** Milliseconds before it is checked again what a volume is a member of. */
const askAgainMs = 5000;

/** The NBD side of the daemon: listeners, exports made by calls, and automatic exports of every volume that comes online. */
export class Exports {
  readonly #registry: BdevRegistry;
  readonly #server: NbdServer;
  readonly #log: Logger;
  readonly #watch: ExportWatch;
  readonly #known = new Set<string>();
  /** Volumes that are not exported because they are, or are about to be, members of something. */
  readonly #heldBack = new Set<Bdev>();
  /** Names of automatic exports. */
  readonly #automatic = new Set<string>();
  /** Decisions in progress on whether a volume is exported. */
  readonly #deciding = new Set<Promise<void>>();
  #memberOf: MemberFinder | null = null;
  #addresses: readonly NbdListener['address'][] = [];

  constructor(registry: BdevRegistry, log: Logger, server = new NbdServer({ registry }), watch: ExportWatch = noWatch()) {
    this.#registry = registry;
    this.#log = log;
    this.#server = server;
    this.#watch = watch;
    // An export is removed with its device.
    registry.addListener({
      onUnregistered: (bdev) => {
        this.#heldBack.delete(bdev);
        this.#forgetGone();
      },
    });
  }

  async listen(address: NbdAddress): Promise<void> {
    const listener = await this.#server.listen(address);
    this.#addresses = [...this.#addresses, listener.address];
    if ('host' in address && !this.isTlsRequired) warnOfPlainText(this.#log, address);
  }

  /** Addresses at which clients connect. */
  get addresses(): readonly NbdListener['address'][] {
    return this.#addresses;
  }

  /** Sets the addresses at which clients connect, which are another reactor's. */
  set addresses(addresses: readonly NbdListener['address'][]) {
    this.#addresses = addresses;
  }

  /** Path of a Unix socket that is listening; null if there is none. */
  get unixPath(): string | null {
    for (const address of this.#addresses) if ('unix' in address) return address.unix;
    return null;
  }

  /** Whether clients without TLS are refused. */
  get isTlsRequired(): boolean {
    return this.#server.isTlsRequired;
  }

  /** URIs of the export, one for each listener. */
  uris(name: string): string[] {
    return this.#addresses.map((address) => nbdUri(address, name, this.isTlsRequired));
  }

  /** The URIs of every exported volume, under all its export names; by the volume's name. */
  urisByVolume(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { bdev, name } of this.#server.exports()) found.set(bdev, [...(found.get(bdev) ?? []), ...this.uris(name)]);
    return found;
  }

  add(options: {
    bdevName: string;
    name?: string;
    readOnly?: boolean;
    description?: string;
    clients?: readonly ClientRule[];
  }): string {
    const { bdevName, name = bdevName, readOnly, description, clients } = options;
    this.#checkListeners(clients ?? []);
    if (!this.#watch.names.take(`export ${name}`)) {
      throw new NbdError('ERR_NBD_EXPORT_EXISTS', Status.Exists, `an NBD export ${name} exists already`);
    }
    try {
      this.#server.addExport({
        name,
        bdev: bdevName,
        ...(readOnly === undefined ? {} : { readOnly }),
        ...(description === undefined ? {} : { description }),
        ...(clients === undefined ? {} : { clients }),
      });
    } catch (error) {
      this.#watch.names.release(`export ${name}`);
      throw error;
    }
    this.#known.add(name);
    this.#watch.exported({ name, description: description ?? '', clients: clients ?? null });
    return name;
  }

  /** Throws if a rule names a listener that does not exist: it would let no client in, which must be a mistake. */
  #checkListeners(clients: readonly ClientRule[]): void {
    const there = this.#addresses.map(listenerName);
    const wrong = clients.findIndex(({ listener }) => listener !== undefined && !there.includes(listener));
    if (wrong < 0) return;
    const message = `clients.${wrong}.listener is ${String(clients[wrong]?.listener)}, but NBD is served at ${there.join(', ') || 'no address'}`;
    throw new NbdError('ERR_NBD_INVALID', Status.Invalid, message);
  }

  async remove(name: string): Promise<void> {
    const removed = this.#server.removeExport(name);
    this.#forgetGone();
    await removed;
  }

  /** Calls that make the exports again, except automatic ones. */
  configCalls(): { method: string; params: JsonObject }[] {
    return this.#server
      .exports()
      .filter(({ name }) => !this.#automatic.has(name))
      .map(({ name, bdev, readOnly, description, clients }) => {
        const extra = {
          ...(readOnly ? { read_only: true } : {}),
          ...(description === '' ? {} : { description }),
          ...(clients === null ? {} : { clients: clients.map(describeRule) }),
        };
        return { method: 'raidkit_nbd_export', params: { bdev_name: bdev, name, ...extra } };
      });
  }

  list(): JsonObject[] {
    return this.#server.exports().map((info) => ({
      name: info.name,
      bdev_name: info.bdev,
      read_only: info.readOnly,
      clients: info.clients?.map(describeRule) ?? null,
      description: info.description,
      size_bytes: info.sizeBytes,
      connections: info.connections,
      uris: this.uris(info.name),
    }));
  }

  /** Total traffic of clients, and their number. */
  traffic(): ReturnType<NbdServer['traffic']> {
    return this.#server.traffic();
  }

  /** The clients of exports. */
  clients(): JsonObject[] {
    return this.#server.clients().map((client) => ({
      export: client.exportName,
      peer: client.peer,
      listener: client.listener,
      tls_user: client.tlsUser,
      certificate: client.certificate,
      read_only: client.readOnly,
      seconds: client.seconds,
      requests: client.requests,
      bytes: client.bytes,
    }));
  }

  /**
   * Exports every volume under its name while it is online, from now on, unless it is a member of something: a writable export
   * would block its array, and clients could write to it behind the array's back.
   */
  exportVolumes(memberOf: MemberFinder): void {
    this.#memberOf = memberOf;
    this.#registry.addListener({ onRegistered: (bdev) => this.#consider(bdev) });
  }

  /** Resolves when no decision about an automatic export is in progress. */
  async settled(): Promise<void> {
    while (this.#deciding.size > 0) await Promise.all(this.#deciding);
  }

  /** Checks again whether volumes that are not exported are still members of something. */
  reconsider(): void {
    for (const bdev of [...this.#heldBack]) this.#consider(bdev);
  }

  /** Removes automatic exports without clients, because these volumes are to become members. */
  async yieldVolumes(names: readonly (string | null)[]): Promise<void> {
    await this.settled();
    if (this.#memberOf === null) return;
    for (const name of names) {
      const bdev = name === null ? undefined : this.#registry.get(name);
      if (bdev === undefined || !this.#automatic.has(bdev.name)) continue;
      const isUsed = this.#server.exports().some((info) => info.name === bdev.name && info.connections > 0);
      if (isUsed) continue;
      this.#heldBack.add(bdev);
      await this.remove(bdev.name);
    }
  }

  #consider(bdev: Bdev): void {
    if (!isVolume(bdev) || this.#memberOf === null) return;
    const decided = this.#decide(bdev, this.#memberOf).finally(() => this.#deciding.delete(decided));
    this.#deciding.add(decided);
  }

  async #decide(bdev: Bdev, memberOf: MemberFinder): Promise<void> {
    let owner: string | null;
    try {
      owner = await memberOf(bdev);
    } catch (error) {
      if (bdev.state !== 'registered') return;
      this.#log.warn(
        { array: bdev.name, err: error },
        'it is not known whether the volume is a member of an array: it is exported when it is',
      );
      setTimeout(() => this.#consider(bdev), askAgainMs).unref();
      return;
    }
    if (bdev.state !== 'registered') return;
    owner ??= bdev.claimedBy;
    if (owner !== null) {
      this.#heldBack.add(bdev);
      this.#log.info({ array: bdev.name, owner }, 'the volume is a member: it is not exported');
      return;
    }
    this.#heldBack.delete(bdev);
    try {
      this.#automatic.add(this.add({ bdevName: bdev.name }));
      this.#log.info({ array: bdev.name, uris: this.uris(bdev.name) }, 'the volume is exported');
    } catch (error) {
      this.#log.error({ array: bdev.name, err: error }, 'the volume could not be exported');
    }
  }

  /** Completes clients' requests in flight, and closes all connections and listeners. */
  async close(): Promise<void> {
    await this.#server.close();
  }

  #forgetGone(): void {
    const there = new Set(this.#server.exports().map(({ name }) => name));
    for (const name of this.#known) {
      if (there.has(name)) continue;
      this.#known.delete(name);
      this.#automatic.delete(name);
      this.#watch.names.release(`export ${name}`);
      this.#watch.unexported(name);
    }
  }
}

/**
 * Warns about NBD over TCP without TLS: everyone who can reach the address, or is on the path, can read and write every export.
 */
function warnOfPlainText(log: Logger, { host, port }: { host: string; port: number }): void {
  const whom = isLoopback(host) ? 'every user of this machine' : 'every client that can reach it';
  const message = `NBD is served over TCP without requiring TLS: ${whom} can use every export; with --tls require clients need a key or a certificate`;
  log.warn({ host, port }, message);
}

/** A client rule as RPC shows it. */
function describeRule({ listener, tlsUser, certificate, readOnly }: ClientRule): JsonObject {
  return {
    ...(listener === undefined ? {} : { listener }),
    ...(tlsUser === undefined ? {} : { tls_user: tlsUser }),
    ...(certificate === undefined ? {} : { certificate }),
    ...(readOnly === true ? { read_only: true } : {}),
  };
}

function isVolume(bdev: Bdev): boolean {
  return bdev.driver.kind === 'raid';
}

function noWatch(): ExportWatch {
  return { names: new OwnNames(), exported: () => undefined, unexported: () => undefined };
}
