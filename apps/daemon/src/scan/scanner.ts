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

/** Buffers for looking at one device. Bytes; what is not used costs nothing. */
const probeMemoryBytes = 64 << 20;

/** Which arrays are opened by themselves: all, those that are listed by name or uuid, or none. */
export type ScanPolicy = 'all' | 'none' | readonly string[];

/** What is scanned, and what for. */
export interface ScanOptions {
  /** Paths and patterns of block devices and files. */
  patterns: readonly string[];
  policy: ScanPolicy;
}

/** A device that matches, and what is known of it. */
interface Seen {
  /** The same as long as it is the same device or file: looked at once. */
  readonly identity: string;
  readonly path: string;
  readonly probed: Probed | { readonly kind: 'unreadable'; readonly reason: string };
  /** The bdev that it was opened as; null if it was not. */
  bdev: string | null;
  /** Why it was not opened. */
  reason: string | null;
  why: WhyNot | null;
}

/** For programs: the policy does not say so, another device says that it is the same member, it is none, or it failed. */
type WhyNot = 'policy' | 'twin' | 'no member' | 'failed';

type Member = Seen & { readonly probed: Probed & { kind: 'member' } };

/** What a scanner does with devices. */
export interface FoundDevices {
  open: OpenFound;
  /** Whether the device may be looked at, and opened. */
  mayOpen: (path: string) => Promise<boolean>;
}

/** Opens a device that was found. */
export type OpenFound = (params: { name: string; filename: string; block_size: number; uuid: string }) => Promise<unknown>;

/**
 * Finds members of arrays among devices and files, those that appear later too. Devices are looked at for reading only; what
 * is opened for good, and so for writing, is a member of an array that may start.
 */
export class Scanner {
  readonly #options: ScanOptions;
  readonly #caller: Caller;
  readonly #devices: FoundDevices;
  /** Devices that are being looked at. */
  readonly #registry: BdevRegistry;
  readonly #log: Logger;
  /** By real path. */
  #seen = new Map<string, Seen>();
  /** Arrays that a call wants to have started, by name or uuid. */
  readonly #wanted = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(options: ScanOptions, caller: Caller, devices: FoundDevices, log: Logger) {
    this.#options = options;
    this.#caller = caller;
    this.#devices = devices;
    this.#registry = new BdevRegistry(nodeRuntime({ memoryBytes: probeMemoryBytes, log }));
    this.#log = log;
  }

  /** Looks once. Resolves when what was found is open; failures are logged. Looks follow one another. */
  scan(): Promise<void> {
    this.#running = this.#running
      .then(() => this.#scan())
      .catch((error: unknown) => {
        this.#log.error({ err: error }, 'the scan for members failed');
      });
    return this.#running;
  }

  /** The bdev has gone away by itself: its device is looked at again. */
  forget(bdev: string): void {
    for (const [path, seen] of this.#seen) if (seen.bdev === bdev) this.#seen.delete(path);
  }

  /** Has the members of an array opened though the policy does not say so. Throws ENODEV if there are none. */
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
      // A client has opened and closed it: until it has been away, it is left alone.
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

  /** Null: it may be opened. */
  #whyNot({ path, probed }: Member): [WhyNot, string] | null {
    const { policy } = this.#options;
    const isWanted = this.#wanted.has(probed.array) || this.#wanted.has(probed.uuid);
    const isListed = policy === 'all' || (policy !== 'none' && (policy.includes(probed.array) || policy.includes(probed.uuid)));
    if (!isWanted && !isListed) return ['policy', 'the array is not one that starts by itself: raidkit_start_found starts it'];
    const twin = this.#members().find((other) => other.path !== path && other.probed.memberUuid === probed.memberUuid);
    // One of them is a copy, and may be an old one.
    if (twin !== undefined) return ['twin', `${twin.path} says that it is the same member: take one of them away`];
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
          'a device matches --scan, and is not looked at: it is not among those that may be opened here',
        );
        return { identity, path, probed: { kind: 'none' }, bdev: null, reason: null, why: null };
      }
      const probed = await probeDevice(path, this.#registry);
      const seen: Seen = { identity, path, probed, bdev: null, reason: null, why: null };
      if (probed.kind === 'no member') this.#leave(seen, 'no member', probed.reason);
      return seen;
    } catch (error) {
      const { reason } = toRpcError(error).data;
      this.#log.debug({ path }, `a device could not be looked at: ${reason}`);
      // Tried again with the next scan: another program that has it may close it.
      return { identity: '', path, probed: { kind: 'unreadable', reason }, bdev: null, reason, why: 'failed' };
    }
  }

  /** What the patterns match: block devices and regular files, each once, by real path. */
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
        // A device's node is made anew when the device comes back. A file changes with every write.
        const identity = `${stats.dev} ${stats.ino} ${stats.isFile() ? stats.size : `${stats.rdev} ${stats.ctimeMs}`}`;
        if (!found.has(realPath)) found.set(realPath, { path, identity });
      } catch {
        // It went away meanwhile, or is a link that leads nowhere.
      }
    }
    return found;
  }

  /** Real paths of devices that are open, and the bdevs' names. */
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
