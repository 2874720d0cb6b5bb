import type { Logger } from 'pino';
import { z } from 'zod';
import { deferred } from '../deferred.js';
import type { Caller, RpcMethod, RpcState } from '../rpc/dispatcher.js';
import { Dispatcher, method, noParams } from '../rpc/dispatcher.js';
import { RpcCode, RpcError, errnoRefusal } from '../rpc/errors.js';
import { withMethods } from '../rpc/open-rpc.js';
import type { OpenRpcDocument } from '../rpc/open-rpc.js';
import { Scanner } from '../scan/scanner.js';
import type { OpenFound, ScanOptions } from '../scan/scanner.js';
import { baseOf, changesConfiguration, keyOf, removedKeyOf, takesAway } from './call-keys.js';
import type { ConfigCall, PlacedCall } from './config-file.js';
import { PendingCalls } from './pending-calls.js';
import { isOurs, replay } from './replay.js';
import { Saver } from './saver.js';
import type { StateFile } from './state-file.js';
import { Ticker, firstRetryMs } from './ticker.js';

/** Options of {@link Configuration}. */
export interface ConfigurationOptions {
  /** Calls from the configuration file named on the command line. */
  calls: readonly PlacedCall[];
  /** The file that keeps what calls have set up; null for none. */
  state: StateFile | null;
  /** Whether a failed call ends the start. */
  isStrict: boolean;
  /** Whether to stay in the startup state until `framework_start_init` is called. */
  waitForRpc: boolean;
  reactors: number;
  /** Where to look for members of arrays; null for no scan. */
  scan: ScanOptions | null;
  /** Whether a device may be examined and opened. Default: always true. */
  mayOpen?: (path: string) => Promise<boolean>;
  log: Logger;
}

/**
 * The desired configuration of the daemon: it is replayed at start, updated with every call, and saved. A call that fails at
 * start, or whose device disappears, stays part of it and is repeated until it succeeds or its result is deleted. This object
 * is between the control sockets and the code that carries calls out; it knows calls and nothing else.
 */
export class Configuration implements Caller {
  readonly #inner: Caller;
  readonly #options: ConfigurationOptions;
  readonly #log: Logger;
  readonly #init = deferred();
  readonly #pending: PendingCalls;
  readonly #saver: Saver;
  readonly #ticker: Ticker;
  /** What existed at the last check, by key. */
  #known = new Map<string, ConfigCall>();
  /** Keys of devices that the scanner found: they are not saved, nor restored when they go. */
  readonly #found = new Set<string>();
  /** Those of them that are being opened. */
  readonly #opening = new Set<string>();
  readonly #scanner: Scanner | null;
  /** Methods that this object answers itself. */
  readonly #own: Dispatcher;
  #isUp = false;
  #isEnded = false;
  #look: Promise<void> = Promise.resolve();
  /** A check that is queued and has not begun. */
  #nextLook: Promise<void> | null = null;

  constructor(inner: Caller, options: ConfigurationOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#log = options.log;
    this.#pending = new PendingCalls(inner, options.log);
    this.#saver = new Saver(options.state, options.log);
    this.#ticker = new Ticker(
      () => this.#tick(),
      () => this.#pending.isEmpty,
    );
    const open: OpenFound = (params) => this.#callFound({ method: 'bdev_aio_create', params });
    const mayOpen = options.mayOpen ?? (() => Promise.resolve(true));
    this.#scanner = options.scan === null ? null : new Scanner(options.scan, inner, { open, mayOpen }, options.log);
    this.#own = new Dispatcher(options.log);
    this.#own.state = 'runtime';
    this.#own.register(this.#ownMethods());
  }

  /**
   * Replays the configuration and ends the startup state, unless that waits for a call. Rejects only if a call fails and the
   * configuration is strict.
   */
  async begin(): Promise<void> {
    const calls = this.#allCalls();
    await this.#replay(calls, 'startup');
    if (!this.#options.waitForRpc) await this.#startInit(calls, undefined, false);
    else this.#startInitLater = (params, hasDuplicateKey) => this.#startInit(calls, params, hasDuplicateKey);
  }

  #startInitLater: ((params: unknown, hasDuplicateKey: boolean) => Promise<unknown>) | null = null;

  /** Ends all checks, retries and saves: what disappears from now on must come back at the next start. */
  end(): void {
    this.#isEnded = true;
    this.#pending.end();
    this.#ticker.end();
  }

  /** Scans for new devices and retries failed calls now. */
  reload(): void {
    this.#ticker.soon(0);
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    switch (name) {
      case 'framework_start_init':
        if (this.#startInitLater !== null) return this.#startInitLater(params, hasDuplicateKey);
        break;
      case 'framework_wait_init': {
        const answer = await this.#inner.call(name, params, hasDuplicateKey);
        await this.#init.promise;
        return answer;
      }
      case 'framework_get_config': {
        const live = await this.#inner.call(name, params, hasDuplicateKey);
        return Array.isArray(live) ? this.#withPending(live as ConfigCall[]) : live;
      }
      case 'rpc_get_methods': {
        const names = (await this.#inner.call(name, params, hasDuplicateKey)) as string[];
        return [...names, ...ownMethods];
      }
      case 'rpc.discover': {
        const document = (await this.#inner.call(name, params, hasDuplicateKey)) as OpenRpcDocument;
        return withMethods(document, this.#own.list());
      }
      default:
    }
    if (ownMethods.includes(name)) return this.#own.call(name, params, hasDuplicateKey);
    return this.#forward({ method: name, params: asParams(params) }, params, hasDuplicateKey);
  }

  /** Checks what has changed, and saves it. Resolves when that is done; failures are logged. */
  refresh(): Promise<void> {
    this.#nextLook ??= this.#look = this.#look.then(() => {
      this.#nextLook = null;
      return this.#refreshNow();
    });
    return this.#nextLook;
  }

  #ownMethods(): RpcMethod[] {
    return [
      method({ name: 'raidkit_get_configuration', params: null, run: () => Promise.resolve(this.#describe()) }),
      method({
        name: 'raidkit_rescan',
        params: null,
        run: async () => {
          await this.#ticker.now();
          return this.#describe();
        },
      }),
      method({
        name: 'raidkit_start_found',
        params: z.strictObject({ name: z.string() }),
        badParams: noParams,
        run: async ({ name }) => {
          if (this.#scanner === null) throw errnoRefusal(95, 'raidkitd was started without --scan');
          await this.#scanner.start(name);
          await this.refresh();
          return true;
        },
      }),
    ];
  }

  /** Makes a device of something that the scanner found. It is not part of the configuration, since it is found again. */
  async #callFound(call: ConfigCall): Promise<unknown> {
    const key = keyOf(call);
    this.#opening.add(key);
    this.#found.add(key);
    try {
      return await this.#inner.call(call.method, call.params);
    } catch (error) {
      this.#found.delete(key);
      throw error;
    } finally {
      this.#opening.delete(key);
    }
  }

  async #forward(call: ConfigCall, params: unknown, hasDuplicateKey: boolean): Promise<unknown> {
    const { method } = call;
    if (!this.#isUp || !changesConfiguration(method)) return this.#inner.call(method, params, hasDuplicateKey);
    const removed = this.#removedBy(call);
    if (removed.length === 0) {
      // A retry in progress may be making the same thing: this call must then be told that it exists, not that something is
      // busy. There is no wait otherwise, so that calls that arrive together are carried out in their order.
      if (this.#pending.isTrying(keyOf(call))) await this.#pending.settled([keyOf(call)]);
      const answer = await this.#inner.call(method, params, hasDuplicateKey);
      // Pending calls that waited for what was made need not wait long.
      this.#ticker.soon(firstRetryMs);
      await this.refresh();
      return answer;
    }
    const isOver = this.#pending.hold(removed);
    try {
      // A retry in progress may be making what this call removes.
      await this.#pending.settled(removed);
      const answer = await this.#remove(call, params, hasDuplicateKey, removed);
      await this.refresh();
      return answer;
    } finally {
      isOver();
    }
  }

  async #remove(
    { method }: ConfigCall,
    params: unknown,
    hasDuplicateKey: boolean,
    removed: readonly string[],
  ): Promise<unknown> {
    const [key = ''] = removed;
    try {
      const answer = await this.#inner.call(method, params, hasDuplicateKey);
      this.#forget(removed);
      return answer;
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== -19 || method === 'bdev_set_qos_limit') throw error;
      // Either it is gone, which may not have been noticed yet, or it exists and is of another kind.
      const made = this.#pending.get(key) ?? this.#known.get(key);
      if (made === undefined || !takesAway(method, made.method)) throw error;
      const isGone = this.#pending.has(key) || (comesBack(made) && !(await this.#isThere(key)));
      if (!isGone) throw error;
      this.#log.info({ key }, 'a device that could not be opened is deleted from the configuration');
      this.#forget(removed);
      return true;
    }
  }

  #forget(keys: readonly string[]): void {
    for (const key of keys) {
      this.#known.delete(key);
      this.#found.delete(key);
      this.#pending.delete(key);
    }
  }

  /** Keys that a call removes: the one it names comes first, then what depends on that. */
  #removedBy(call: ConfigCall): string[] {
    const given = removedKeyOf(call);
    if (given === null) return [];
    const all = [...this.#known, ...this.#pending.calls()];
    const [kind, wanted] = splitKey(given);
    const byUuid = kind === 'bdev' ? all.find(([, { params }]) => params?.uuid === wanted.toLowerCase()) : undefined;
    const keys = [byUuid?.[0] ?? given];
    // A device that is stopped but not deleted may come back, and so may its exports.
    if (kind !== 'bdev' || call.method === 'raidkit_stop') return keys;
    for (const key of keys) {
      for (const [other, one] of all) if (`bdev ${String(baseOf(one))}` === key && !keys.includes(other)) keys.push(other);
    }
    return keys;
  }

  /** The command line's file comes before what was saved. */
  #allCalls(): PlacedCall[] {
    const { calls, state, log } = this.#options;
    if (state === null) return [...calls];
    const saved = this.#readState(state);
    if (saved.length > 0) log.info({ path: state.path, calls: saved.length }, 'the saved configuration is restored');
    const given = new Set(calls.map(keyOf));
    return [...calls, ...saved.filter((call) => !given.has(keyOf(call)))];
  }

  #readState(state: StateFile): PlacedCall[] {
    const read = state.read({ keepsDamaged: this.#options.isStrict });
    if (read.kind === 'found') return read.calls;
    if (read.kind === 'none') return [];
    const where =
      read.movedTo === null ? 'and stays in its place: nothing is saved until it is moved' : `and is kept as ${read.movedTo}`;
    const message = `the state file ${state.path} is damaged (${read.reason}), ${where}`;
    if (this.#options.isStrict || read.movedTo === null) throw new Error(message);
    this.#log.error({}, message);
    return [];
  }

  async #startInit(calls: readonly PlacedCall[], params: unknown, hasDuplicateKey: boolean): Promise<unknown> {
    try {
      return await this.#initialise(calls, params, hasDuplicateKey);
    } catch (error) {
      // If it was refused before it began, it can be called again.
      if (this.#startInitLater === null) this.#init.reject(error);
      throw error;
    }
  }

  async #initialise(calls: readonly PlacedCall[], params: unknown, hasDuplicateKey: boolean): Promise<unknown> {
    const answer = await this.#inner.call('framework_start_init', params, hasDuplicateKey);
    this.#startInitLater = null;
    await this.#keepFromExamining(calls);
    await this.#replay(calls, 'runtime');
    await this.#scanner?.scan();
    const levels = (await this.#inner.call('raidkit_get_modules', undefined)) as { level: string; redundant: boolean }[];
    this.#saver.redundantLevels = new Set(levels.filter(({ redundant }) => redundant).map(({ level }) => level));
    this.#isUp = true;
    await this.refresh();
    this.#init.resolve();
    this.#ticker.begin();
    return answer;
  }

  /**
   * Devices that clients write to must not be examined: a superblock there is the clients' data and must not make the device a
   * member. This includes members of arrays without superblocks, whose first block is the volume's.
   */
  async #keepFromExamining(calls: readonly PlacedCall[]): Promise<void> {
    const exported = calls.filter(({ method, params }) => method === 'raidkit_nbd_export' && params?.read_only !== true);
    const plain = calls.filter(({ method, params }) => method === 'bdev_raid_create' && params?.superblock !== true);
    const names = [
      ...exported.map(({ params }) => params?.bdev_name),
      ...plain.flatMap(({ params }) => params?.base_bdevs),
    ].filter((name) => typeof name === 'string');
    const examined = calls.filter(({ method }) => method === 'bdev_examine');
    const members = examined.map(({ params }) => params?.name).filter((name) => typeof name === 'string');
    if (names.length + members.length > 0) await this.#inner.call('raidkit_set_unexamined', { names, members });
  }

  async #replay(calls: readonly PlacedCall[], state: RpcState): Promise<void> {
    const names = async (current: boolean): Promise<ReadonlySet<string>> =>
      new Set((await this.#inner.call('rpc_get_methods', { current, include_aliases: true })) as string[]);
    const target = {
      state,
      current: await names(true),
      known: await names(false),
      reactors: this.#options.reactors,
      call: (name: string, params: unknown) => this.#inner.call(name, params),
      hasEnded: () => this.#isEnded,
    };
    for (const { call, error } of await replay(calls, target, this.#log)) {
      const where = `subsystem ${call.subsystem}, call ${call.place}, ${call.method}`;
      // Without a failed `raidkit_allow` more would be allowed than the operator wanted, and an unknown method of ours may be a
      // misspelt one of that kind. (A saved state may be from a newer daemon.)
      const isMisspelt = error.code === RpcCode.MethodNotFound && isOurs(call.method) && this.#options.calls.includes(call);
      if (this.#options.isStrict || isMisspelt || call.method === 'raidkit_allow')
        throw new Error(`${where}: ${error.message} (code ${error.code}): ${error.data.reason}`, { cause: error });
      this.#pending.add(call, error);
    }
  }

  #withPending(live: readonly ConfigCall[]): ConfigCall[] {
    const rank = ({ method }: ConfigCall): number => {
      if (method === 'bdev_wait_for_examine') return 4;
      if (method === 'nbd_start_disk') return 3;
      if (method === 'raidkit_nbd_export' || method === 'bdev_set_qos_limit') return 2;
      return method === 'raidkit_add_spare' || method === 'bdev_examine' ? 1 : 0;
    };
    const there = new Set(live.map(keyOf));
    const missing = this.#pending
      .calls()
      .filter(([key]) => !there.has(key))
      .map(([, call]) => call);
    // The sort is stable: calls of equal rank stay in this order.
    return [...live, ...missing]
      .map((call) => ({ call, rank: rank(call) }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ call }) => call);
  }

  async #refreshNow(): Promise<void> {
    if (!this.#isUp || this.#hasEnded()) return;
    let live: ConfigCall[];
    try {
      live = configCalls.parse(await this.#inner.call('framework_get_config', { name: 'bdev' }));
    } catch (error) {
      if (this.#hasEnded()) return;
      this.#saver.failed(`the configuration could not be read: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    // Devices disappear while the daemon stops.
    if (this.#hasEnded()) return;
    const now = new Map(live.map((call) => [keyOf(call), call]));
    for (const key of [...this.#found]) {
      if (now.has(key) || this.#opening.has(key)) continue;
      this.#found.delete(key);
      this.#scanner?.forget(splitKey(key)[1]);
    }
    for (const key of this.#found) now.delete(key);
    for (const [key, call] of this.#known) {
      if (this.#found.has(key)) continue;
      // The volume exists and is no member any more: its contents are its clients'.
      if (call.method === 'bdev_examine' && now.has(`bdev ${String(baseOf(call))}`)) continue;
      if (!now.has(key) && (await this.#isThere(key))) now.set(key, call);
      else if (!now.has(key)) this.#missed(key, call);
      if (this.#hasEnded()) return;
    }
    for (const key of now.keys()) this.#pending.delete(key);
    this.#known = now;
    await this.#saver.save(this.#withPending([...now.values()]));
  }

  /** Whether it exists. A device that moves to another reactor is missing from lists. */
  async #isThere(key: string): Promise<boolean> {
    const [kind, name] = splitKey(key);
    if (kind !== 'bdev') return false;
    return this.#inner.call('bdev_get_bdevs', { name }).then(
      () => true,
      () => false,
    );
  }

  /** Handles something that disappeared without a call to delete it. */
  #missed(key: string, call: ConfigCall): void {
    if (this.#pending.isHeld(key)) return;
    if (!comesBack(call)) {
      this.#log.warn(
        { call },
        'an array without superblocks was deleted with its last member: it is not created again automatically',
      );
      return;
    }
    this.#pending.add(call, new RpcError(-19, 'No such device', { reason: `${key} was removed meanwhile` }));
    this.#ticker.soon(firstRetryMs);
  }

  /** Must be checked again after each `await`. */
  #hasEnded(): boolean {
    return this.#isEnded;
  }

  /** Scans for new devices and retries failed calls. Resolves with true if one of these succeeded. */
  async #tick(): Promise<boolean> {
    await this.refresh();
    await this.#scanner?.scan();
    const haveSome = await this.#pending.tryAll();
    if (haveSome) await this.refresh();
    return haveSome;
  }

  #describe(): object {
    const { state } = this.#options;
    return {
      is_starting: !this.#isUp,
      state_file: state?.path ?? null,
      state_error: this.#saver.error,
      pending: this.#pending.describe(),
      found: this.#scanner?.describe() ?? null,
    };
  }
}

/**
 * Whether something that disappeared is made again. An array without superblocks is not: its members may have failed one after
 * another, and it is not recorded which are current.
 */
function comesBack({ method }: ConfigCall): boolean {
  return method !== 'bdev_raid_create';
}

/** Methods about what is configured but missing, and about what was found. */
export const ownMethods: readonly string[] = ['raidkit_get_configuration', 'raidkit_rescan', 'raidkit_start_found'];

const configCalls = z.array(z.object({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() }));

function asParams(params: unknown): Record<string, unknown> {
  return typeof params === 'object' && params !== null && !Array.isArray(params) ? (params as Record<string, unknown>) : {};
}

function splitKey(key: string): [string, string] {
  const at = key.indexOf(' ');
  return [key.slice(0, at), key.slice(at + 1)];
}
