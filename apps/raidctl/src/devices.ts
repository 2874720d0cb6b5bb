import { existsSync, realpathSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { BdevInfo, Examination, RaidkitClient } from '@raidkit/client';
import { ExitCode } from './exit-code.js';
import { Failure } from './failure.js';
import { callStep } from './plan.js';
import type { Step } from './plan.js';
import { pathOf } from './snapshot.js';
import type { Snapshot } from './snapshot.js';

/** Options for opening devices. */
export interface OpenOptions {
  /** Bytes. */
  blockSize?: number;
  readOnly?: boolean;
  /** Uuid by which the array knows the device. */
  uuid?: string;
  /** Whether unmapped blocks are deallocated on the device. Default true. */
  unmap?: boolean;
}

/** A device that was named on the command line. */
export interface Device {
  /** The argument as it was given. */
  readonly argument: string;
  /** Name in the daemon, now or after it is opened. */
  readonly name: string;
  /** Set if the device must be opened; null if the daemon has it open. */
  readonly toOpen: { readonly path: string } | null;
  readonly bdev: BdevInfo | null;
}

/** What a device contains that would be lost, for people. */
export interface Occupant {
  readonly what: string;
  /** Uuid of the array, if it is a superblock. */
  readonly arrayUuid?: string;
  readonly isSuperblock: boolean;
}

/** Whether an argument may be a path: it has a `/`. Names of arrays may have one, too. */
export function isPath(argument: string): boolean {
  return argument.includes('/');
}

/**
 * Whether an argument counts as a path even if the daemon has a device of that name: the name of an array on a foreign disk may
 * look like another disk's path.
 */
function isSurelyPath(argument: string): boolean {
  return /^\.{0,2}\//.test(argument);
}

/** Finds the devices named on the command line: paths of files and block devices, or names in the daemon. */
export class DeviceFinder {
  readonly #snapshot: Snapshot;
  readonly #taken: Set<string>;
  readonly #isRemote: boolean;

  constructor(snapshot: Snapshot, { isRemote }: { readonly isRemote: boolean }) {
    this.#snapshot = snapshot;
    this.#isRemote = isRemote;
    this.#taken = new Set([
      ...snapshot.bdevs.flatMap(({ name, aliases }) => [name, ...aliases]),
      ...snapshot.arrays.map(({ name }) => name),
    ]);
  }

  find(argument: string): Device {
    const { bdevs } = this.#snapshot;
    const named = bdevs.find(({ name, aliases }) => name === argument || aliases.includes(argument));
    if (named !== undefined && !isSurelyPath(argument)) {
      if (!isPath(argument) || this.#isRemote || !existsSync(argument))
        return { argument, name: named.name, toOpen: null, bdev: named };
      const hint = `give ./${argument} for the file, ${named.uuid} for the device`;
      throw new Failure(ExitCode.Usage, `${argument} is a device of the daemon, and a file`, { hint });
    }
    if (!isPath(argument)) {
      const hint = `a path has a "/" in it, so give ./${argument} for a file in this directory; raidctl devices lists what is open`;
      throw new Failure(ExitCode.NotFound, `the daemon has no device ${argument}`, { hint });
    }
    const path = resolve(argument);
    if (this.#isRemote) {
      const there = bdevs.find((bdev) => pathOf(bdev) === argument);
      if (there !== undefined) return { argument, name: there.name, toOpen: null, bdev: there };
      const hint = 'run raidctl there: here it would use a device of this machine';
      throw new Failure(ExitCode.Refused, `${argument} is not open in the daemon, which is on another machine`, { hint });
    }
    if (!existsSync(path)) {
      const hint = named === undefined ? {} : { hint: `the daemon has a device of this name: give ${named.uuid}` };
      throw new Failure(ExitCode.NotFound, `there is no file or device ${argument}`, hint);
    }
    const real = realpathSync(path);
    const open = bdevs.find((bdev) => {
      const other = pathOf(bdev);
      return other !== null && existsSync(other) && realpathSync(other) === real;
    });
    if (open !== undefined) return { argument, name: open.name, toOpen: null, bdev: open };
    const name = this.#freeName(basename(path));
    this.#taken.add(name);
    return { argument, name, toOpen: { path }, bdev: null };
  }

  #freeName(wanted: string): string {
    if (!this.#taken.has(wanted)) return wanted;
    for (let number = 2; ; number++) {
      const name = `${wanted}-${number}`;
      if (!this.#taken.has(name)) return name;
    }
  }
}

/** Steps to open a device; none if it is open already. */
export function openSteps({ name, toOpen }: Device, { blockSize, readOnly = false, unmap = true, uuid }: OpenOptions): Step[] {
  if (toOpen === null) return [];
  const params = {
    name,
    filename: toOpen.path,
    ...(readOnly ? { readonly: true } : { fallocate: unmap }),
    ...(blockSize === undefined ? {} : { block_size: blockSize }),
    ...(uuid === undefined ? {} : { uuid }),
  };
  const undo: Step['undo'] = async (session) => (await session.client()).call('bdev_aio_delete', { name });
  return [callStep(`open ${toOpen.path} as ${name}`, 'bdev_aio_create', params, undo)];
}

/** Steps to close a device again; none if it is not a file or block device. */
export function closeSteps(bdev: BdevInfo | undefined): Step[] {
  if (bdev === undefined || pathOf(bdev) === null) return [];
  return [callStep(`close ${bdev.name} (${String(pathOf(bdev))})`, 'bdev_aio_delete', { name: bdev.name })];
}

/** Returns what uses the device, for people; null if nothing does. */
export function userOf(snapshot: Snapshot, bdev: BdevInfo): string | null {
  for (const array of snapshot.arrays) {
    const member = array.ext.members.find(({ name }) => name === bdev.name);
    if (member !== undefined) return `array ${array.name}, slot ${member.slot}`;
  }
  if (snapshot.spares.some(({ bdev_name: name }) => name === bdev.name)) return 'the spares';
  const exported = snapshot.exports.find(({ bdev_name: name }) => name === bdev.name);
  if (exported !== undefined) return `export ${exported.name}`;
  return bdev.claimed ? 'another device on top of it' : null;
}

/** Throws if the device is in use. */
export function requireFree(snapshot: Snapshot, { argument, bdev }: Device): void {
  const user = bdev === null ? null : userOf(snapshot, bdev);
  // A volume may have an automatic export, which the daemon removes if no client uses it.
  if (user === null || (user.startsWith('export ') && bdev?.product_name === 'Raid Volume')) return;
  throw new Failure(ExitCode.Refused, `${argument} is in use by ${user}`);
}

/** Returns what the device contains that must not be overwritten without asking; null if nothing is known. */
export async function occupantOf(client: RaidkitClient | null, device: Device): Promise<Occupant | null> {
  if (device.toOpen === null) {
    if (client === null) return null;
    const examination = await client.call('raidkit_examine', { bdev_name: device.name });
    return occupantOfOpen(examination);
  }
  const { examineLocally } = await import('./local-device.js');
  try {
    const { found, signature } = await examineLocally(device.toOpen.path);
    if (found.kind === 'found') return superblockOf(found.record.name, found.record.uuid);
    if (signature !== null) return { what: signature, isSuperblock: false };
    return found.kind === 'unusable' ? { what: `a damaged superblock (${found.message})`, isSuperblock: true } : null;
  } catch (error) {
    // If the device cannot be read, the user must agree before it is overwritten.
    const why = error instanceof Error ? error.message : String(error);
    return { what: `unreadable contents (${why})`, isSuperblock: false };
  }
}

function occupantOfOpen(examination: Examination): Occupant | null {
  switch (examination.superblock) {
    case 'found':
      return superblockOf(examination.name, examination.uuid);
    case 'unusable':
      return { what: `a damaged superblock (${examination.reason})`, isSuperblock: true };
    case 'none':
      return typeof examination.signature !== 'string' ? null : { what: examination.signature, isSuperblock: false };
  }
}

function superblockOf(name: string, uuid: string): Occupant {
  return { what: `the superblock of array ${name} (${uuid})`, arrayUuid: uuid, isSuperblock: true };
}

/** Makes the step that clears superblocks and headers from a device, whether or not it is open. */
export function wipeStep({ argument, name, toOpen }: Device): Step {
  const does = `clear the superblock from ${argument}`;
  if (toOpen === null) return callStep(does, 'raidkit_wipe', { bdev_name: name });
  return {
    does,
    method: null,
    params: { path: toOpen.path },
    async run() {
      const { wipeLocally } = await import('./local-device.js');
      await wipeLocally(toOpen.path);
      return true;
    },
  };
}
