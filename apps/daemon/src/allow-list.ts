import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import picomatch from 'picomatch';
import { z } from 'zod';
import { RpcError } from './rpc/errors.js';
import type { Caller } from './rpc/dispatcher.js';

/** Path patterns; limits on their length and number. */
const patterns = z.array(z.string().min(1).max(4096)).min(1).max(1000);
const uuids = z.array(z.guid()).min(1).max(10_000);

/** Parameters of `raidkit_allow`: each given list narrows what was allowed before. */
export const allowParams = z.strictObject({ devices: patterns.optional(), arrays: uuids.optional() });

/** Devices of the kernel's NBD client: attaching a volume to one opens nothing that holds data. */
const kernelNbd = /^\/dev\/nbd\d+$/;

/** EPERM. */
const notPermitted = -1;

/** Uuids of arrays that may run here: those on every list, or all while there is no list. */
export class AllowedArrays {
  readonly #lists: ReadonlySet<string>[] = [];

  narrow(list: readonly string[]): void {
    this.#lists.push(new Set(list.map((uuid) => uuid.toLowerCase())));
  }

  allows(uuid: string): boolean {
    return this.#lists.every((list) => list.has(uuid.toLowerCase()));
  }

  /** The allowed uuids; null for all. */
  get uuids(): string[] | null {
    const [first, ...others] = this.#lists;
    if (first === undefined) return null;
    return [...first].filter((uuid) => others.every((list) => list.has(uuid)));
  }
}

/** Devices and files that may be opened: those that match every list, or all while there is no list. */
export class AllowedDevices {
  readonly #lists: { readonly patterns: readonly string[]; readonly matches: (path: string) => boolean }[] = [];

  narrow(patterns: readonly string[]): void {
    const absolute = patterns.map((pattern) => resolve(pattern));
    this.#lists.push({ patterns: absolute, matches: picomatch(absolute, { dot: true }) });
  }

  /** Whether every device may be opened. */
  get areAll(): boolean {
    return this.#lists.length === 0;
  }

  /**
   * Returns a list of patterns that the path does not match, so that it may not be opened; null if it may. Either the path
   * itself or its target must match, so a user who may make links in an allowed folder decides what they lead to.
   *
   * @param realPath the target; null if it cannot be resolved
   */
  patternsAgainst(path: string, realPath: string | null): readonly string[] | null {
    // After a symbolic link, `..` leads elsewhere than the text says, so only the target counts.
    const named = path.split('/').includes('..') ? null : resolve(path);
    const isMatch = ({ matches }: { matches: (path: string) => boolean }): boolean =>
      (named !== null && matches(named)) || (realPath !== null && matches(realPath));
    return this.#lists.find((list) => !isMatch(list))?.patterns ?? null;
  }

  /** Throws the `RpcError` of a call that may not open the path given in this parameter. */
  check(field: string, path: string, realPath: string | null): void {
    const patterns = this.patternsAgainst(path, realPath);
    if (patterns === null) return;
    const allowed = patterns.join(', ');
    const reason = `${field}: ${path} is not one of the devices that may be opened here (--allow-device, raidkit_allow): ${allowed}`;
    throw new RpcError(notPermitted, 'Operation not permitted', { reason, field, allowed });
  }
}

/**
 * Passes calls on, except those that open a device or make an array that is not allowed, whether they come from clients, the
 * configuration or the scan. The code that opens a device checks again what it has opened.
 */
export class AllowedCalls implements Caller {
  readonly #inner: Caller;
  readonly #arrays = new AllowedArrays();
  readonly #devices = new AllowedDevices();

  constructor(inner: Caller) {
    this.#inner = inner;
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    if (name === 'bdev_aio_create' || name === 'bdev_uring_create') await this.#checkDevice(params, 'filename');
    if (name === 'nbd_start_disk' && !kernelNbd.test(textOf(params, 'nbd_device') ?? ''))
      await this.#checkDevice(params, 'nbd_device');
    if (name === 'bdev_raid_create') this.#checkArray(params);
    const answer = await this.#inner.call(name, params, hasDuplicateKey);
    if (name === 'raidkit_allow') this.#narrow(allowParams.parse(params ?? {}));
    return answer;
  }

  #narrow({ arrays, devices }: z.infer<typeof allowParams>): void {
    if (arrays !== undefined) this.#arrays.narrow(arrays);
    if (devices !== undefined) this.#devices.narrow(devices);
  }

  /** Whether a path may be examined and opened. */
  async mayOpen(path: string): Promise<boolean> {
    return this.#devices.areAll || this.#devices.patternsAgainst(path, await leadsTo(path)) === null;
  }

  async #checkDevice(params: unknown, field: string): Promise<void> {
    const path = textOf(params, field);
    if (path !== null && !this.#devices.areAll) this.#devices.check(field, path, await leadsTo(path));
  }

  #checkArray(params: unknown): void {
    const { uuids: list } = this.#arrays;
    if (list === null) return;
    const uuid = textOf(params, 'uuid');
    if (uuid !== null && this.#arrays.allows(uuid)) return;
    const what = uuid === null ? 'an array without a uuid of its own' : `array ${uuid}`;
    const allowed = list.length === 0 ? 'none' : list.join(', ');
    const reason = `uuid: ${what} is not one of those that may run here (--allow-array, raidkit_allow): ${allowed}`;
    throw new RpcError(notPermitted, 'Operation not permitted', { reason, field: 'uuid', allowed });
  }
}

function leadsTo(path: string): Promise<string | null> {
  return realpath(path).catch(() => null);
}

function textOf(params: unknown, field: string): string | null {
  if (typeof params !== 'object' || params === null || !(field in params)) return null;
  const value = (params as Record<string, unknown>)[field];
  return typeof value === 'string' ? value : null;
}
