import type { Bdev, BdevRegistry, JsonObject, Logger } from '@raidkit/bdev';
import { NbdError, NbdServer, listenerName, nbdUri } from '@raidkit/nbd';
import type { ClientRule, NbdListener } from '@raidkit/nbd';
import { isLoopback } from './loopback.js';
import { OwnNames } from './shared-names.js';
import type { NameTable } from './shared-names.js';
import type { SharedExport } from './shared-state.js';

/** Where NBD clients are served: a Unix socket's path, or a TCP address. */
export type NbdAddress = { unix: string } | { host: string; port: number };

/** Is told of exports as they come and go. */
export interface ExportWatch {
  readonly names: NameTable;
  exported(one: SharedExport): void;
  unexported(name: string): void;
}

/** Says of what a volume is a member, for people; null if nothing has it. Rejects if that cannot be told now. */
export type MemberFinder = (bdev: Bdev) => Promise<string | null>;

/** Wait before it is asked again of what a volume is a member, in milliseconds. */
const askAgainMs = 5000;

/** The NBD side of the daemon: listeners, exports by hand, and exports of every volume that comes online. */
export class Exports {
  readonly #registry: BdevRegistry;
  readonly #server: NbdServer;
  readonly #log: Logger;
  readonly #watch: ExportWatch;
  readonly #known = new Set<string>();
  /** Volumes that are not exported since they are, or are about to be, members of something. */
  readonly #heldBack = new Set<Bdev>();
  /** Names of exports that volumes have by themselves. */
  readonly #automatic = new Set<string>();
  /** Volumes of which it is being decided whether they are exported. */
  readonly #deciding = new Set<Promise<void>>();
  #memberOf: MemberFinder | null = null;
  #addresses: readonly NbdListener['address'][] = [];

  constructor(registry: BdevRegistry, log: Logger, server = new NbdServer({ registry }), watch: ExportWatch = noWatch()) {
    this.#registry = registry;
    this.#log = log;
    this.#server = server;
    this.#watch = watch;
    // An export goes with its device.
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

  /** Where clients come in. */
  get addresses(): readonly NbdListener['address'][] {
    return this.#addresses;
  }

  /** Clients come in at these addresses of another reactor. */
  set addresses(addresses: readonly NbdListener['address'][]) {
    this.#addresses = addresses;
  }

  /** Path of a Unix socket that is listened on; null if there is none. */
  get unixPath(): string | null {
    for (const address of this.#addresses) if ('unix' in address) return address.unix;
    return null;
  }

  /** Whether clients without TLS are refused. */
  get isTlsRequired(): boolean {
    return this.#server.isTlsRequired;
  }

  /** URIs under which a client reaches the export, one for each listener. */
  uris(name: string): string[] {
    return this.#addresses.map((address) => nbdUri(address, name, this.isTlsRequired));
  }

  /** The same of every volume that is exported, under whatever names; by the volume's own name. */
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
      throw new NbdError('ERR_NBD_EXPORT_EXISTS', 17, `there is an NBD export ${name} already`);
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

  /** A rule with a listener that does not exist lets no client in: that is a mistake. */
  #checkListeners(clients: readonly ClientRule[]): void {
    const there = this.#addresses.map(listenerName);
    const wrong = clients.findIndex(({ listener }) => listener !== undefined && !there.includes(listener));
    if (wrong < 0) return;
    const message = `clients.${wrong}.listener is ${String(clients[wrong]?.listener)}, and NBD is served at ${there.join(', ') || 'no address'}`;
    throw new NbdError('ERR_NBD_INVALID', 22, message);
  }

  async remove(name: string): Promise<void> {
    const removed = this.#server.removeExport(name);
    this.#forgetGone();
    await removed;
  }

  /** The calls that would make those exports again that volumes do not have by themselves. */
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

  /** What clients have had in all, and how many there are. */
  traffic(): ReturnType<NbdServer['traffic']> {
    return this.#server.traffic();
  }

  /** Who uses exports. */
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
   * From now on every volume is exported under its name while it is online, unless it is a member of something: a writable
   * export would keep it from its array, and let clients write to it behind the array's back.
   */
  exportVolumes(memberOf: MemberFinder): void {
    this.#memberOf = memberOf;
    this.#registry.addListener({ onRegistered: (bdev) => this.#consider(bdev) });
  }

  /** Resolves when it has been decided of every volume whether it is exported. */
  async settled(): Promise<void> {
    while (this.#deciding.size > 0) await Promise.all(this.#deciding);
  }

  /** Asks again whether volumes that are not exported are still members of something. */
  reconsider(): void {
    for (const bdev of [...this.#heldBack]) this.#consider(bdev);
  }

  /** Takes back exports that volumes have by themselves and no client uses: the volumes are to become members. */
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
        'it cannot be told whether the volume is a member of an array: it is exported when it can',
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

  /** Finishes what clients have in flight, and ends all connections and listeners. */
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

/** Every client that can reach the address can read and write every export, and so can an attacker in between. */
function warnOfPlainText(log: Logger, { host, port }: { host: string; port: number }): void {
  const whom = isLoopback(host) ? 'every user of this machine' : 'every client that can reach it';
  const message = `NBD is served over TCP without requiring TLS: ${whom} can use every export; --tls require asks clients for a key or a certificate`;
  log.warn({ host, port }, message);
}

/** As RPC has it. */
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
