import type { Logger } from 'pino';
import type { MovedDevice } from '../shared-state.js';
import type { Fixed } from '../reactor-messages.js';
import { RpcError } from '../rpc/errors.js';
import type { Directory } from './directory.js';
import { Holds } from './holds.js';
import type { Port } from './port.js';

/** A device that cannot be moved from its reactor. */
export interface FixedDevice {
  name: string;
  reactor: number;
  reason: string;
  errno: number;
}

/** Moves idle devices between reactors: a device is closed in one and opened in another by the same call. */
export class Moves {
  readonly #ports: readonly Port[];
  readonly #directory: Directory;
  readonly #log: Logger;
  /** Devices that are being moved and are open nowhere for a moment. */
  readonly #moving = new Holds();

  constructor(ports: readonly Port[], directory: Directory, log: Logger) {
    this.#ports = ports;
    this.#directory = directory;
    this.#log = log;
  }

  /** Resolves when the device is not moving. */
  settled(name: string): Promise<void> {
    return this.#moving.free(name);
  }

  /** Returns those of the devices that cannot move. */
  async findFixed(names: readonly string[]): Promise<FixedDevice[]> {
    const found = await Promise.all(
      this.#ports.map(async (port, reactor) => {
        const here = names.filter((name) => this.#directory.find('bdev', name) === reactor);
        if (here.length === 0) return [];
        const fixed = (await port.ask({ ask: 'fixed', names: here })) as Fixed;
        return Object.entries(fixed).map(([name, why]) => ({ name, reactor, ...why }));
      }),
    );
    return found.flat();
  }

  /** Moves the device to this reactor. If that fails, rejects with an `RpcError`, and the device is where it was. */
  async move(name: string, to: number): Promise<void> {
    const from = this.#directory.find('bdev', name);
    if (from === undefined || from === to) return;
    await this.#moving.holding(this.#directory.namesOf('bdev', name), () =>
      this.#directory.keepingPlace(name, () => this.#carry(name, from, to)),
    );
  }

  async #carry(name: string, from: number, to: number): Promise<void> {
    let device: MovedDevice;
    try {
      device = (await this.#port(from).ask({ ask: 'release', name })) as MovedDevice;
    } catch (error) {
      throw refusal(error, `${name} cannot be moved from reactor ${from}`);
    }
    try {
      await this.#port(to).ask({ ask: 'adopt', device });
      this.#log.info({ bdev: name, from, to }, 'the device has moved to another reactor');
    } catch (error) {
      await this.#goBack(device, from, refusal(error, `${name} could not be opened on reactor ${to}`));
    }
  }

  /**
   * Opens the device where it was, and always rejects with `why`; the error says more if the device could not be opened again.
   */
  async #goBack(device: MovedDevice, from: number, why: RpcError): Promise<never> {
    try {
      await this.#port(from).ask({ ask: 'adopt', device });
    } catch (error) {
      const again = refusal(error, `${why.message}, nor again on reactor ${from}, and is now closed`);
      this.#log.error({ bdev: device.name }, again.message);
      throw again;
    }
    throw why;
  }

  #port(reactor: number): Port {
    const port = this.#ports[reactor];
    if (port === undefined) throw new Error(`there is no reactor ${reactor}`);
    return port;
  }
}

function refusal(error: unknown, what: string): RpcError {
  if (!(error instanceof RpcError)) throw error;
  return new RpcError(error.code, `${what}: ${error.message}`, { ...error.data, reason: `${what}: ${error.data.reason}` });
}
