import { stat } from 'node:fs/promises';
import { Bdev, BdevError, Status, isUuid, nullUuid } from '@raidkit/bdev';
import type { BdevRegistry, Logger, Runtime } from '@raidkit/bdev';
import type { DeviceFile } from './device-file.js';
import type { IoEngine } from './engine.js';
import { blockDeviceIdentity, diskIdentity, fileIdentity, uuidOf } from './identity.js';
import { LinuxDriver } from './linux-driver.js';
import { PortableEngine } from './portable-engine.js';
import { openUsable } from './usable-file.js';
import type { DirectIo } from './usable-file.js';

/** Options of {@link openLinuxBdev}. */
export interface LinuxBdevOptions {
  name: string;
  /** Path of a block device or a regular file; symbolic links are followed. */
  path: string;
  /**
   * Bytes; a power of two, 512 to 65,536, and no smaller than a device's logical block size. Default: the logical block size,
   * or 512 for a file.
   */
  blockSize?: number;
  /**
   * Default, also for the nil uuid: derived from the identity of the device or file (its world wide name, serial number, path
   * …).
   */
  uuid?: string;
  /** Default false. */
  readOnly?: boolean;
  /** Whether to support unmap and write zeroes by deallocating space. Default false. */
  fallocate?: boolean;
  /** Default: the engine set by {@link useEngine}, else one `PortableEngine` for all devices of a runtime. */
  engine?: IoEngine;
  /** Default `auto`. */
  directIo?: DirectIo;
  /**
   * Called with the path, free of symbolic links, of what is about to be opened; exactly that is opened, even if the path leads
   * elsewhere meanwhile. An error that it throws is what the call rejects with. Default: everything may be opened.
   */
  check?: (realPath: string) => void;
  /** Milliseconds between two checks of the device's size and presence; 0 for none. Default 5000. */
  pollMs?: number;
}

const engines = new WeakMap<Runtime, IoEngine>();

/** Sets the engine of devices of this runtime that are opened from now on without an engine of their own. */
export function useEngine(runtime: Runtime, engine: IoEngine): void {
  engines.set(runtime, engine);
}

/**
 * Opens a block device or regular file for this bdev alone and registers it; resolves when it has been examined. Close it with
 * `registry.unregister`. Rejects with a `BdevError` whose `errno` and message give the reason.
 */
export async function openLinuxBdev(registry: BdevRegistry, options: LinuxBdevOptions): Promise<Bdev> {
  const { name, readOnly = false, fallocate = false, directIo = 'auto', pollMs = 5000 } = options;
  const engine = options.engine ?? engineOf(registry.runtime);
  const givenUuid = checkUuid(name, options.uuid);
  const { file, blockSize, numBlocks } = await openUsable(registry.runtime, engine, options);
  try {
    const canDeallocate = fallocate && !readOnly && engine.canDeallocate;
    const driver = new LinuxDriver({
      registry,
      file,
      engine,
      blockSize,
      hasBlockSizeOverride: options.blockSize !== undefined,
      readOnly,
      fallocate,
      directIo,
      canUnmap: canDeallocate && (await canDiscard(file)),
      canWriteZeroes: canDeallocate,
      pollMs,
      physicalDevice: await physicalDevice(file),
    });
    const uuid = givenUuid ?? uuidOf(await identify(file, name, registry.runtime.log));
    const serial = file.isBlockDevice ? ((await (await file.info())?.serial()) ?? null) : null;
    const bdev = new Bdev({ name, uuid, blockSize, numBlocks, isReadOnly: readOnly, serial, driver });
    const examined = registry.register(bdev);
    driver.attach(bdev);
    await examined;
    return bdev;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Checks the device's size and presence now. Resolves when changes have been reported. */
export function rescan(bdev: Bdev): Promise<void> {
  if (bdev.driver instanceof LinuxDriver) return bdev.driver.rescan();
  throw new BdevError('ERR_BDEV_NOT_FOUND', Status.NoDevice, `bdev ${bdev.name} is not backed by a Linux file or device`);
}

/** Identifies the device or file below a bdev, to notice when another one has taken its path. Null for other bdevs. */
export function identityOf(bdev: Bdev): string | null {
  return bdev.driver instanceof LinuxDriver ? bdev.driver.identity : null;
}

function engineOf(runtime: Runtime): IoEngine {
  let engine = engines.get(runtime);
  if (engine === undefined) engines.set(runtime, (engine = new PortableEngine(runtime)));
  return engine;
}

async function identify(file: DeviceFile, name: string, log: Logger): Promise<string> {
  if (!file.isBlockDevice) return fileIdentity(file.realPath);
  return blockDeviceIdentity(file.realPath, await file.info(), (value, otherDisks) => {
    const fields = { bdev: name, path: file.path, value, otherDisks };
    log.warn(
      fields,
      'other disks have the same serial number: the device is identified by its path instead; give it a uuid to move it',
    );
  });
}

async function physicalDevice(file: DeviceFile): Promise<string> {
  const info = await file.info();
  if (file.isBlockDevice && info !== null) return diskIdentity(file.realPath, info);
  return `file system:${(await stat(file.realPath)).dev}`;
}

/** A block device reports whether it can discard; a file system shows it only when asked to. */
async function canDiscard(file: DeviceFile): Promise<boolean> {
  const info = await file.info();
  if (info === null) return true;
  return Number(await info.diskAttribute('queue/discard_max_bytes')) > 0;
}

function checkUuid(name: string, uuid: string | undefined): string | undefined {
  const lower = uuid?.toLowerCase();
  if (lower === undefined || lower === nullUuid) return undefined;
  if (isUuid(lower)) return lower;
  throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `bdev ${name}: ${JSON.stringify(uuid)} is not a uuid`);
}
