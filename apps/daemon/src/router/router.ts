import type { Logger } from 'pino';
import { maxWaitMs } from '../methods/bdev.js';
import type { Notifications } from '../notifications.js';
import type { Caller } from '../rpc/dispatcher.js';
import { RpcError } from '../rpc/errors.js';
import { numberOf, textOf, textsOf } from './call.js';
import type { Call } from './call.js';
import type { Directory } from './directory.js';
import { Gathering } from './gathering.js';
import { Holds } from './holds.js';
import { mergeAnswers } from './merge.js';
import { Moves } from './moves.js';
import { peekSuperblock } from './peek.js';
import { Placement } from './placement.js';
import type { Port } from './port.js';
import { routes } from './routes.js';
import type { Route, Special } from './routes.js';

/**
 * Makes several reactors look like one daemon: sends each call to the reactor that it is about. It decides where things are,
 * and knows nothing about them but their names.
 */
export class Router implements Caller {
  readonly #ports: readonly Port[];
  readonly #directory: Directory;
  /** Notifications about devices of all reactors. */
  readonly #notifications: Notifications;
  readonly #placement: Placement;
  readonly #moves: Moves;
  readonly #gathering: Gathering;
  /** Names of devices that are being made or moved, and of arrays that are being made. */
  readonly #busy = new Holds();
  readonly #special: Readonly<Record<Special, (call: Call) => Promise<unknown>>>;

  constructor(ports: readonly Port[], directory: Directory, notifications: Notifications, log: Logger) {
    this.#ports = ports;
    this.#notifications = notifications;
    this.#directory = directory;
    this.#placement = new Placement(directory, ports.length);
    this.#moves = new Moves(ports, directory, log);
    this.#gathering = new Gathering(ports, directory, this.#placement, this.#moves, this.#busy);
    this.#special = {
      getBdevs: (call) => this.#getBdevs(call),
      iostat: (call) => this.#iostat(call),
      notifications: (call) => this.#notified(call),
      createVirtual: (call) => this.#createVirtual(call),
      openDevice: (call) => this.#openDevice(call),
      createArray: (call) => this.#gathering.createArray(call),
      addMember: (call) => this.#gathering.join(call, 'raid_bdev', 'base_bdev'),
      growArray: (call) => this.#gathering.join(call, 'raid_name', 'base_name'),
      replaceMember: (call) => this.#gathering.join(call, 'name', 'bdev_name'),
      addSpare: (call) => this.#gathering.join(call, 'name', 'bdev_name'),
    };
  }

  call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
    // The first reactor refuses unknown methods and duplicate keys, as any would.
    if (route === undefined || hasDuplicateKey) return this.#port(0).call(name, params, hasDuplicateKey);
    return this.#follow(route, { name, params });
  }

  #follow(route: Route, call: Call): Promise<unknown> {
    switch (route.to) {
      case 'first':
        return this.#at(0, call);
      case 'owner':
        return this.#atOwner(route.of, textOf(call, route.by), call);
      case 'all':
        return this.#atAll(call);
      case 'each': {
        const name = route.unless === undefined ? undefined : textOf(call, route.unless);
        if (name !== undefined) return this.#atOwner(route.merge === 'arrays' ? 'array' : 'bdev', name, call);
        return this.#atEach(route, call);
      }
      case 'search':
        return this.#search(call);
      case 'router':
        return this.#special[route.how](call);
    }
  }

  #at(reactor: number, { name, params }: Call): Promise<unknown> {
    return this.#port(reactor).call(name, params);
  }

  async #atOwner(kind: 'bdev' | 'array' | 'export', name: string | undefined, call: Call): Promise<unknown> {
    if (name === undefined) return this.#at(0, call);
    if (kind === 'bdev') await this.#moves.settled(name);
    const owner = kind === 'array' ? this.#directory.findArray(name) : this.#directory.find(kind, name);
    return this.#at(owner ?? 0, call);
  }

  /**
   * Calls all reactors, the first before the others. If the first refuses, the call has no effect. If a later one refuses,
   * those before it have carried it out, and the error says so.
   */
  async #atAll(call: Call): Promise<unknown> {
    this.#refuseIfStuck();
    const answer = await this.#at(0, call);
    const others = await Promise.allSettled(this.#ports.slice(1).map((port) => port.call(call.name, call.params)));
    for (const [index, other] of others.entries()) {
      if (other.status === 'fulfilled') continue;
      const why: unknown = other.reason;
      if (!(why instanceof RpcError)) throw why;
      const where = `(reactor ${index + 1}; other reactors have carried out the call)`;
      throw new RpcError(why.code, `${why.message} ${where}`, { ...why.data, reason: `${why.data.reason} ${where}` });
    }
    return answer;
  }

  async #atEach({ merge }: Route & { to: 'each' }, call: Call): Promise<unknown> {
    this.#refuseIfStuck();
    const answers = await Promise.allSettled(this.#ports.map((port) => port.call(call.name, call.params)));
    return mergeAnswers(merge, answers, this.#directory);
  }

  async #search(call: Call): Promise<unknown> {
    for (const reactor of this.#ports.keys()) {
      try {
        return await this.#at(reactor, call);
      } catch (error) {
        const isLast = reactor === this.#ports.length - 1;
        if (isLast || !(error instanceof RpcError) || error.code !== -19) throw error;
      }
    }
    return undefined;
  }

  /** Refuses a call to all reactors, naming the one that would not answer, because a partial answer would be wrong. */
  #refuseIfStuck(): void {
    for (const port of this.#ports) if (port.isStuck) throw port.stuckError();
  }

  /** Gets statistics of the named devices from their reactors, in the order in which they are named. */
  async #iostat(call: Call): Promise<unknown> {
    const merge = call.name === 'bdev_get_iostat' ? 'iostat' : 'nothing';
    const name = textOf(call, 'name');
    const named = [...(name === undefined ? [] : [name]), ...textsOf(call, 'names')];
    if (named.length === 0) return this.#atEach({ to: 'each', merge }, call);
    if (named.length === 1) return this.#atOwner('bdev', named[0], call);
    await this.#port(0).ask({ ask: 'check', method: call.name, params: call.params });
    const answers: unknown[] = [];
    for (const one of named) {
      const params = { ...(call.params as object), name: one, names: undefined };
      answers.push(await this.#atOwner('bdev', one, { name: call.name, params }));
    }
    const [first] = answers;
    if (merge === 'nothing') return first;
    return { ...(first as object), bdevs: (answers as { bdevs: unknown[] }[]).flatMap(({ bdevs }) => bdevs) };
  }

  async #notified(call: Call): Promise<unknown> {
    await this.#port(0).ask({ ask: 'check', method: call.name, params: call.params });
    return this.#notifications.list(numberOf(call, 'id') ?? 0, numberOf(call, 'max') ?? Infinity);
  }

  async #getBdevs(call: Call): Promise<unknown> {
    const name = textOf(call, 'name');
    if (name === undefined) return this.#atEach({ to: 'each', merge: 'bdevs' }, call);
    const { timeout } = call.params as { timeout?: unknown };
    const isPatient = typeof timeout === 'number' && Number.isInteger(timeout) && timeout > 0 && timeout <= maxWaitMs;
    if (!isPatient || this.#directory.find('bdev', name) !== undefined) return this.#atOwner('bdev', name, call);
    const askNow: Call = { name: call.name, params: { ...(call.params as object), timeout: 0 } };
    try {
      return await this.#at(0, askNow);
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== -19) throw error;
    }
    await this.#directory.waitForBdev(name, timeout);
    return this.#atOwner('bdev', name, askNow);
  }

  #createVirtual(call: Call): Promise<unknown> {
    const reactor = numberOf(call, 'reactor');
    const names = givenNames(call);
    return this.#busy.holding(names, () => {
      // The first reactor refuses a reactor number that does not exist.
      if (reactor !== undefined) return this.#at(reactor < this.#ports.length ? reactor : 0, call);
      return this.#at(this.#directory.findAwaiting(names) ?? 0, call);
    });
  }

  /** Opens a device. If an array waits for it by name, the two calls are ordered, so that one finds the other. */
  #openDevice(call: Call): Promise<unknown> {
    const path = textOf(call, 'filename');
    const names = givenNames(call);
    return this.#busy.holding(names, async () => {
      const owner = path === undefined ? null : await peekSuperblock(path);
      return this.#placement.openingDevice(owner, names, (reactor) => this.#at(reactor, call));
    });
  }

  #port(reactor: number): Port {
    const port = this.#ports[reactor];
    if (port === undefined) throw new Error(`there is no reactor ${reactor}`);
    return port;
  }
}

/** Names by which a call to make a device says that it shall be known. */
function givenNames(call: Call): string[] {
  return [textOf(call, 'name'), textOf(call, 'uuid')?.toLowerCase()].filter((name) => name !== undefined);
}
