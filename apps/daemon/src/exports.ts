import type { Bdev, BdevRegistry, JsonObject, Logger } from '@raidkit/bdev';
import { NbdServer } from '@raidkit/nbd';
import type { NbdListener } from '@raidkit/nbd';

/** Where NBD clients are served: a Unix socket's path, or a TCP address. */
export type NbdAddress = { unix: string } | { host: string; port: number };

/** The NBD side of the daemon: listeners, exports by hand, and exports of every volume that comes online. */
export class Exports {
  readonly #registry: BdevRegistry;
  readonly #server: NbdServer;
  readonly #log: Logger;
  readonly #listeners: NbdListener[] = [];

  constructor(registry: BdevRegistry, log: Logger, server: NbdServer = new NbdServer({ registry })) {
    this.#registry = registry;
    this.#log = log;
    this.#server = server;
  }

  async listen(address: NbdAddress): Promise<void> {
    this.#listeners.push(await this.#server.listen(address));
  }

  /** Path of a Unix socket that is listened on; null if there is none. */
  get unixPath(): string | null {
    for (const { address } of this.#listeners) if ('unix' in address) return address.unix;
    return null;
  }

  /** URIs under which a client reaches the export, one for each listener. */
  uris(name: string): string[] {
    return this.#listeners.map((listener) => listener.uri(name));
  }

  add(options: { bdevName: string; name?: string; readOnly?: boolean; description?: string }): string {
    const { bdevName, name = bdevName, readOnly, description } = options;
    this.#server.addExport({
      name,
      bdev: bdevName,
      ...(readOnly === undefined ? {} : { readOnly }),
      ...(description === undefined ? {} : { description }),
    });
    return name;
  }

  async remove(name: string): Promise<void> {
    await this.#server.removeExport(name);
  }

  list(): JsonObject[] {
    return this.#server.exports().map((info) => ({
      name: info.name,
      bdev_name: info.bdev,
      read_only: info.readOnly,
      description: info.description,
      size_bytes: info.sizeBytes,
      connections: info.connections,
      uris: this.uris(info.name),
    }));
  }

  /** From now on every volume is exported under its name while it is online. */
  exportVolumes(): void {
    const onRegistered = (bdev: Bdev): void => {
      if (bdev.driver.productName !== 'Raid Volume') return;
      try {
        this.add({ bdevName: bdev.name });
        this.#log.info({ array: bdev.name, uris: this.uris(bdev.name) }, 'the volume is exported');
      } catch (error) {
        this.#log.error({ array: bdev.name, err: error }, 'the volume could not be exported');
      }
    };
    this.#registry.addListener({ onRegistered });
  }

  /** Finishes what clients have in flight, and ends all connections and listeners. */
  async close(): Promise<void> {
    await this.#server.close();
  }
}
