import { RpcError } from '../rpc/errors.js';
import { textOf, textsOf } from './call.js';
import type { Call } from './call.js';
import type { Directory } from './directory.js';
import type { Holds } from './holds.js';
import type { FixedDevice, Moves } from './moves.js';
import type { Placement } from './placement.js';
import type { Port } from './port.js';

/** Error code for devices that cannot be brought together. */
const invalid = -22;

/** Moves the devices of an array to one reactor before a call that needs them there. */
export class Gathering {
  readonly #ports: readonly Port[];
  readonly #directory: Directory;
  readonly #placement: Placement;
  readonly #moves: Moves;
  readonly #busy: Holds;

  /** `busy` has the names of arrays and devices that a call makes or moves; a second call with one of them waits. */
  constructor(ports: readonly Port[], directory: Directory, placement: Placement, moves: Moves, busy: Holds) {
    this.#ports = ports;
    this.#directory = directory;
    this.#placement = placement;
    this.#moves = moves;
    this.#busy = busy;
  }

  /**
   * Carries out `bdev_raid_create` on the reactor of those members that cannot move; if all can, on the reactor with the fewest
   * arrays.
   */
  async createArray(call: Call): Promise<unknown> {
    const name = textOf(call, 'name');
    const members = [...new Set(textsOf(call, 'base_bdevs'))];
    if (name === undefined) return this.#at(0, call);
    return this.#busy.holding([name, ...members], async () => {
      await this.#check(call);
      // If the name is taken, its reactor refuses the call.
      const taken = this.#directory.findArray(name);
      if (taken !== undefined) return this.#at(taken, call);
      const fixed = await this.#moves.findFixed(members);
      const to = fixed[0]?.reactor ?? this.#placement.leastUsed();
      const apart = fixed.find(({ reactor }) => reactor !== to);
      if (fixed[0] !== undefined && apart !== undefined) {
        throw new RpcError(
          invalid,
          `Failed to create RAID bdev ${name}: ${describe(fixed[0])}, and ${describe(apart)}: members must be on one reactor`,
        );
      }
      return this.#placement.whileComing(to, async () => {
        for (const member of members) await this.#bring(member, to, `Failed to create RAID bdev ${name}`);
        return this.#at(to, call);
      });
    });
  }

  /** Carries out a call that adds the device in one parameter to the array in another one, on the array's reactor. */
  async join(call: Call, arrayKey: string, deviceKey: string): Promise<unknown> {
    const array = textOf(call, arrayKey);
    const device = textOf(call, deviceKey);
    if (device === undefined) return this.#at(0, call);
    return this.#busy.holding([device], async () => {
      const from = this.#directory.find('bdev', device);
      const to = array === undefined ? from : this.#directory.findArray(array);
      if (array === undefined || from === undefined || to === undefined || from === to) return this.#at(to ?? from ?? 0, call);
      await this.#check(call);
      const [fixed] = await this.#moves.findFixed([device]);
      if (fixed !== undefined) {
        throw new RpcError(-fixed.errno, `${device} cannot join array ${array}, which is on reactor ${to}: ${describe(fixed)}`);
      }
      await this.#bring(device, to, `${device} cannot join array ${array}`);
      return this.#at(to, call);
    });
  }

  async #bring(device: string, to: number, what: string): Promise<void> {
    try {
      await this.#moves.move(device, to);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      throw new RpcError(error.code, `${what}: ${error.message}`, { ...error.data, reason: `${what}: ${error.data.reason}` });
    }
  }

  /** Checks the call first, so that no device moves for a call that is refused anyway. */
  async #check({ name, params }: Call): Promise<void> {
    await this.#port(0).ask({ ask: 'check', method: name, params });
  }

  #at(reactor: number, { name, params }: Call): Promise<unknown> {
    return this.#port(reactor).call(name, params);
  }

  #port(reactor: number): Port {
    const port = this.#ports[reactor];
    if (port === undefined) throw new Error(`there is no reactor ${reactor}`);
    return port;
  }
}

function describe({ name, reactor, reason }: FixedDevice): string {
  return `${name} is on reactor ${reactor} and cannot be moved (${reason})`;
}
