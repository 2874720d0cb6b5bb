import { realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { BdevRegistry } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import type { Logger } from 'pino';
import { glob } from 'tinyglobby';
import type { Caller } from '../rpc/dispatcher.js';
import { RpcError, toRpcError } from '../rpc/errors.js';
import { probeDevice } from './probe-device.js';
import type { Probed } from './probe-device.js';

/** Bytes of buffers for probing one device. What is not used costs nothing. */
const probeMemoryBytes = 64 << 20;

/** Which arrays are opened automatically: all, those listed by name or uuid, or none. */
export type ScanPolicy = 'all' | 'none' | readonly string[];

/** Options of a scan. */
export interface ScanOptions {
  /** Paths and patterns of block devices and files. */
  patterns: readonly string[];
  policy: ScanPolicy;
}

/** A device that matches the patterns, and what is known of it. */
interface Seen {
  /** Unchanged as long as it is the same device or file, which is probed only once. */
  readonly identity: string;
  readonly path: string;
  readonly probed: Probed | { readonly kind: 'unreadable'; readonly reason: string };
  /** Name of the bdev that it was opened as; null if it was not opened. */
  bdev: string | null;
  /** Why it was not opened; null if it was. */
  reason: string | null;
  why: WhyNot | null;
}

/**
 * Reason as a code, for programs: the policy does not include the array, another device claims to be the same member, the
 * device is no member, or an error.
 */
type WhyNot = 'policy' | 'twin' | 'no member' | 'failed';

type Member = Seen & { readonly probed: Probed & { kind: 'member' } };

/** What a scanner needs to open devices. */
export interface FoundDevices {
  open: OpenFound;
  /** Whether the device may be examined and opened. */
  mayOpen: (path: string) => Promise<boolean>;
}

/** Opens a device that was found. */
export type OpenFound = (params: { name: string; filename: string; block_size: number; uuid: string }) => Promise<unknown>;

/**
 * Finds members of arrays among devices and files, including those that appear later. Devices are probed read-only; only
 * members of an array that may start are opened, for writing.
 */
export class Scanner {
  readonly #options: ScanOptions;
  readonly #caller: Caller;
  readonly #devices: FoundDevices;
  /** Registry for the devices being probed. */
  readonly #registry: BdevRegistry;
  readonly #log: Logger;
  /** Matching devices, by real path. */
  #seen = new Map<string, Seen>();
  /** Arrays that a call has asked to start, by name or uuid. */
  readonly #wanted = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(options: ScanOptions, caller: Caller, devices: FoundDevices, log: Logger) {
    this.#options = options;
    this.#caller = caller;
    this.#devices = devices;
    this.#registry = new BdevRegistry(nodeRuntime({ memoryBytes: probeMemoryBytes, log }));
    this.#log = log;
  }

  /** Scans once. Resolves when what was found is open; failures are logged. Scans run one after another. */
  scan(): Promise<void> {
    this.#running = this.#running
      .then(() => this.#scan())
      .catch((error: unknown) => {
        this.#log.error({ err: error }, 'the scan for members failed');
      });
    return this.#running;
  }

  /** Forgets a bdev that disappeared: its device is probed again. */
  forget(bdev: string): void {
    for (const [path, seen] of this.#seen) if (seen.bdev === bdev) this.#seen.delete(path);
  }

  /** Opens the members of an array that the policy does not include. Throws ENODEV if there are none. */
  async start(array: string): Promise<void> {
    await this.scan();
    if (!this.#members().some(({ probed }) => probed.array === array || probed.uuid === array)) {
      throw new RpcError(-19, 'No such device', { reason: `no device that was found is a member of an array ${array}` });
    }
    this.#wanted.add(array);
    await this.scan();
  }

  describe(): object[] {
    return [...this.#seen.values()]
      .filter(({ probed }) => probed.kind !== 'none')
      .map(({ path, probed, bdev, reason, why }) => ({
        path,
        array: 'array' in probed ? probed.array : null,
        uuid: 'uuid' in probed ? probed.uuid : null,
        member_uuid: probed.kind === 'member' ? probed.memberUuid : null,
        bdev_name: bdev,
        reason,
        why,
      }));
  }

  async #scan(): Promise<void> {
    const open = await this.#openPaths();
    const found = await this.#find();
    const seen = new Map<string, Seen>();
    for (const [realPath, { path, identity }] of found) {
      const before = this.#seen.get(realPath);
      if (before?.identity === identity) seen.set(realPath, before);
      else if (!open.has(realPath)) seen.set(realPath, await this.#look(path, identity));
      // A client has opened and closed it, so it is not opened again before it has been away.
      else
        seen.set(realPath, {
          identity,
          path,
          probed: { kind: 'none' },
          bdev: open.get(realPath) ?? null,
          reason: null,
          why: null,
        });
    }
    this.#seen = seen;
    for (const one of this.#members()) {
      if (one.bdev !== null) continue;
      const refusal = this.#whyNot(one);
      if (refusal === null) await this.#openMember(one);
      else this.#leave(one, ...refusal);
    }
  }

  #members(): Member[] {
    return [...this.#seen.values()].filter((one): one is Member => one.probed.kind === 'member');
  }

  /** Returns why the member is not opened; null if it may be. */
  #whyNot({ path, probed }: Member): [WhyNot, string] | null {
    const { policy } = this.#options;
    const isWanted = this.#wanted.has(probed.array) || this.#wanted.has(probed.uuid);
    const isListed = policy === 'all' || (policy !== 'none' && (policy.includes(probed.array) || policy.includes(probed.uuid)));
    if (!isWanted && !isListed) return ['policy', 'the array does not start automatically: raidkit_start_found starts it'];
    const twin = this.#members().find((other) => other.path !== path && other.probed.memberUuid === probed.memberUuid);
    // One of the two is a copy and may be outdated.
    if (twin !== undefined) return ['twin', `${twin.path} claims to be the same member: remove one of them`];
    return null;
  }

  async #openMember(one: Member): Promise<void> {
    const { path, probed } = one;
    try {
      const name = await this.#freeName(basename(path));
      await this.#devices.open({ name, filename: path, block_size: probed.blockSize, uuid: probed.memberUuid });
      one.bdev = name;
      one.reason = null;
      one.why = null;
      this.#log.info({ path, bdev: name, array: probed.array }, 'a member of an array was found, and is open');
    } catch (error) {
      this.#leave(one, 'failed', toRpcError(error).data.reason);
    }
  }

  #leave(one: Seen, why: WhyNot, reason: string): void {
    if (one.reason !== reason)
      this.#log.warn({ path: one.path }, `a device with a superblock was found, and is not opened: ${reason}`);
    one.reason = reason;
    one.why = why;
  }

  async #look(path: string, identity: string): Promise<Seen> {
    try {
      if (!(await this.#devices.mayOpen(path))) {
        this.#log.info(
          { path },
          'a device matches --scan, and is not examined: it is not one of those that may be opened here',
        );
        return { identity, path, probed: { kind: 'none' }, bdev: null, reason: null, why: null };
      }
      const probed = await probeDevice(path, this.#registry);
      const seen: Seen = { identity, path, probed, bdev: null, reason: null, why: null };
      if (probed.kind === 'no member') this.#leave(seen, 'no member', probed.reason);
      return seen;
    } catch (error) {
      const { reason } = toRpcError(error).data;
      this.#log.debug({ path }, `a device could not be examined: ${reason}`);
      // It is probed again with the next scan, as another program that has it open may close it.
      return { identity: '', path, probed: { kind: 'unreadable', reason }, bdev: null, reason, why: 'failed' };
    }
  }

  /** Returns the block devices and regular files that match the patterns, each once, by real path. */
  async #find(): Promise<Map<string, { path: string; identity: string }>> {
    const found = new Map<string, { path: string; identity: string }>();
    const paths = await glob([...this.#options.patterns], {
      absolute: true,
      onlyFiles: false,
      followSymbolicLinks: false,
      dot: true,
    });
    for (const path of paths.sort()) {
      try {
        const realPath = await realpath(path);
        const stats = await stat(realPath);
        if (!stats.isBlockDevice() && !stats.isFile()) continue;
        // A device's node is made again when the device returns. A file's times change with every write, so its size is used
        // instead.
        const identity = `${stats.dev} ${stats.ino} ${stats.isFile() ? stats.size : `${stats.rdev} ${stats.ctimeMs}`}`;
        if (!found.has(realPath)) found.set(realPath, { path, identity });
      } catch {
        // It disappeared meanwhile, or is a dangling link.
      }
    }
    return found;
  }

  /** Names of open bdevs by their devices' real paths. */
  async #openPaths(): Promise<ReadonlyMap<string, string>> {
    const bdevs = (await this.#caller.call('bdev_get_bdevs', undefined)) as {
      name: string;
      driver_specific?: { aio?: { filename: string } };
    }[];
    const paths = new Map<string, string>();
    for (const { name, driver_specific: specific } of bdevs) {
      const filename = specific?.aio?.filename;
      if (filename !== undefined) paths.set(await realpath(filename).catch(() => filename), name);
    }
    return paths;
  }

  async #freeName(base: string): Promise<string> {
    for (let count = 1; ; count++) {
      const name = count === 1 ? base : `${base}-${count}`;
      const isTaken = await this.#caller.call('bdev_get_bdevs', { name }).then(
        () => true,
        () => false,
      );
      if (!isTaken) return name;
    }
  }
}
