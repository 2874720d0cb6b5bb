import { openLinuxBdev } from '@raidkit/backend-linux';
import { BdevError, BdevRegistry } from '@raidkit/bdev';
import type { BdevDescriptor } from '@raidkit/bdev';
import { nodeRuntime } from '@raidkit/bdev/node';
import { findSignature } from '@raidkit/signatures';
import { keepsChecksums, namedMember, spdkSuperblockStore } from '@raidkit/superblock';
import { commandLine } from './command-line.js';
import { ExitCode } from './exit-code.js';
import { Failure } from './failure.js';

/** Buffer memory in bytes, for the few blocks that are read. */
const memoryBytes = 64 * 1024 * 1024;

type Found = Awaited<ReturnType<typeof spdkSuperblockStore.read>>;

/** What was found on a device. */
export interface LocalExamination {
  found: Found;
  /** Whether the array keeps checksums. */
  hasIntegrity: boolean;
  /** What else is stored there, such as a file system; null if nothing is known. */
  signature: string | null;
  /** Uuid by which superblocks list the device. */
  uuid: string;
  /** The disk's serial number; null if it is not known. */
  serial: string | null;
}

/**
 * Examines a file or block device that the daemon does not have open, from this process, read-only and without starting any
 * array. Throws a `Failure` if it cannot be opened.
 */
export function examineLocally(path: string): Promise<LocalExamination> {
  return withDevice(path, true, async (descriptor) => {
    const found = await spdkSuperblockStore.read(descriptor);
    const signature = found.kind === 'found' ? null : await findSignature(descriptor);
    const hasIntegrity = found.kind === 'found' && (await keepsChecksums(descriptor, found.record));
    return { found, hasIntegrity, signature, uuid: descriptor.bdev.uuid, serial: descriptor.bdev.serial };
  });
}

/** The array, and the member of it, that a device was written for. */
export interface MemberRecord {
  array: string;
  slot: number;
  uuid: string;
  blockSize: number;
}

/**
 * Returns which member of an array the device or file is, according to raidkit's headers on it, whatever its path and name are
 * now; null if there are none or they cannot be read from here.
 */
export async function recordedMember(path: string): Promise<MemberRecord | null> {
  const look = async (descriptor: BdevDescriptor): Promise<MemberRecord | null> => {
    const found = await spdkSuperblockStore.read(descriptor);
    if (found.kind !== 'found') return null;
    const { blockSize, name: array, slots } = found.record;
    if (spdkSuperblockStore.extension?.fits(blockSize, 0) !== true) return null;
    const uuid = await namedMember(descriptor, found.record);
    if (uuid === undefined || uuid === null) return null;
    return { array, slot: slots.findIndex((slot) => slot.uuid === uuid), uuid, blockSize };
  };
  // Opening the device will report what is wrong.
  return withDevice(path, true, look).catch(() => null);
}

/**
 * Clears superblocks and headers from a device that no program has open. Throws a `Failure` if another program's data is still
 * found afterwards.
 */
export function wipeLocally(path: string): Promise<void> {
  return withDevice(path, false, async (descriptor) => {
    await spdkSuperblockStore.clear(descriptor);
    const signature = await findSignature(descriptor);
    if (signature === null) return;
    const message = `${path} still has ${signature}, at an offset that no array uses`;
    throw new Failure(ExitCode.Refused, message, { hint: `if it is not needed: ${commandLine('wipefs --all', path)}` });
  });
}

async function withDevice<T>(path: string, readOnly: boolean, use: (descriptor: BdevDescriptor) => Promise<T>): Promise<T> {
  const registry = new BdevRegistry(nodeRuntime({ memoryBytes }));
  try {
    const bdev = await openLinuxBdev(registry, { name: 'device', path, readOnly, pollMs: 0 });
    try {
      const descriptor = registry.open(bdev, { writable: !readOnly });
      try {
        return await use(descriptor);
      } finally {
        descriptor.close();
      }
    } finally {
      await registry.unregister(bdev);
    }
  } catch (error) {
    if (!BdevError.is(error)) throw error;
    throw new Failure(error.errno === 2 ? ExitCode.NotFound : ExitCode.Refused, error.message, { cause: error });
  }
}
