import { close, constants, fstat, fstatSync, open } from 'node:fs';
import type { Stats } from 'node:fs';
import { readlink, realpath } from 'node:fs/promises';
import { promisify } from 'node:util';
import { BdevError, Status } from '@raidkit/bdev';
import type { Logger } from '@raidkit/bdev';
import { FlockOperation, whyNoSys } from '@raidkit/sys';
import type { Sys } from '@raidkit/sys';
import { ProcessClaim } from './claims.js';
import { Errno, errnoOf, openError } from './errors.js';
import { describeUse } from './in-use.js';
import { BlockDeviceInfo, deviceNumber, isPresent } from './sysfs.js';

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);

/** O_PATH: a descriptor that refers to the file without opening it, so that neither a pipe nor a driver can block. */
const openPath = 0o10_000_000;

/** Options of {@link DeviceFile.open}. */
export interface DeviceFileOptions {
  /** Name of the bdev, for messages. */
  name: string;
  path: string;
  readOnly: boolean;
  /** Opens with O_DIRECT. Some file systems refuse that at open, others at the first read; both with EINVAL. */
  isDirect: boolean;
  /** Throws if the file at this path, free of symbolic links, must not be opened. */
  check?: (realPath: string) => void;
  sys: Sys | null;
  log: Logger;
}

/** An open file or block device, which no one else may use until `close`. */
export class DeviceFile {
  readonly fd: number;
  /** The path as it was given. */
  readonly path: string;
  readonly realPath: string;
  readonly isBlockDevice: boolean;
  /** Called before the descriptor is closed. */
  onClosing: () => void = () => undefined;
  readonly #rdev: number;
  readonly #claim: ProcessClaim;
  readonly #sys: Sys | null;

  private constructor(fd: number, options: DeviceFileOptions, realPath: string, stats: Stats, claim: ProcessClaim) {
    this.fd = fd;
    this.path = options.path;
    this.realPath = realPath;
    this.isBlockDevice = stats.isBlockDevice();
    this.#rdev = stats.rdev;
    this.#claim = claim;
    this.#sys = options.sys;
  }

  /**
   * Opens the file for exclusive use: a block device with O_EXCL, which fails while it is mounted, part of another device or
   * open in this way elsewhere; a file with flock(2), shared if read-only. What was checked is what is opened, whatever takes
   * its path meanwhile. Rejects with a `BdevError` that says what to do.
   */
  static async open(options: DeviceFileOptions): Promise<DeviceFile> {
    const { path, readOnly } = options;
    let realPath;
    let pathFd;
    try {
      realPath = await realpath(path);
      // The path is resolved already, so a symbolic link here is an attack.
      pathFd = await openFile(realPath, openPath | constants.O_NOFOLLOW);
    } catch (error) {
      throw openError(path, errnoOf(error), readOnly, error);
    }
    try {
      const stats = await statFile(pathFd);
      if (!stats.isBlockDevice() && !stats.isFile()) {
        throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `${path} is neither a block device nor a regular file`);
      }
      // Read from the descriptor, because folders of the path may have become links between the two steps above.
      realPath = await readlink(`/proc/self/fd/${pathFd}`);
      options.check?.(realPath);
      const claim = new ProcessClaim(path, stats, options.name);
      try {
        return await DeviceFile.#openClaimed(options, realPath, pathFd, stats, claim);
      } catch (error) {
        claim.release();
        throw error;
      }
    } finally {
      await closeFile(pathFd);
    }
  }

  static async #openClaimed(
    options: DeviceFileOptions,
    realPath: string,
    pathFd: number,
    stats: Stats,
    claim: ProcessClaim,
  ): Promise<DeviceFile> {
    const fd = await openDescriptor(options, realPath, pathFd, stats);
    try {
      const file = new DeviceFile(fd, options, realPath, stats, claim);
      if (file.isBlockDevice) file.#refuseReadOnlyDevice(options.readOnly);
      else file.#lock(options);
      return file;
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
  }

  /** Identifies the device or file, whatever path leads to it. */
  get key(): string {
    return this.#claim.key;
  }

  /** Information about the block device in /sys; null for a file, or without /sys. */
  info(): Promise<BlockDeviceInfo | null> {
    return this.isBlockDevice ? BlockDeviceInfo.find(this.#rdev) : Promise.resolve(null);
  }

  /** Whether the device still exists, or the file still has a name; and its size in bytes, 0 for a device that is gone. */
  async look(): Promise<{ isPresent: boolean; sizeBytes: number }> {
    if (!this.isBlockDevice) {
      const { nlink, size } = await statFile(this.fd);
      return { isPresent: nlink > 0, sizeBytes: size };
    }
    return (await isPresent(this.#rdev))
      ? { isPresent: true, sizeBytes: await this.sizeBytes() }
      : { isPresent: false, sizeBytes: 0 };
  }

  /** Current size in bytes. 0 for a device that has lost its medium. */
  async sizeBytes(): Promise<number> {
    if (!this.isBlockDevice) return (await statFile(this.fd)).size;
    if (this.#sys === null) return Number((await (await this.info())?.attribute('size')) ?? 0) * 512;
    const size = this.#sys.blockDeviceSize(this.fd);
    if (size < 0) throw openError(this.path, -size, false);
    return size;
  }

  /** Current size of a regular file in bytes, synchronously. A negative errno if it cannot be read. */
  fileSizeNow(): number {
    return this.#sys === null ? fstatSync(this.fd).size : this.#sys.seekEnd(this.fd);
  }

  /** Logical block size of a block device, in bytes. */
  async logicalBlockSize(): Promise<number> {
    if (this.#sys === null) {
      const size = Number(await (await this.info())?.diskAttribute('queue/logical_block_size'));
      return size > 0 ? size : 512;
    }
    const size = this.#sys.logicalBlockSize(this.fd);
    if (size < 0) throw openError(this.path, -size, false);
    return size;
  }

  /** Closes the descriptor and releases the claim. */
  async close(): Promise<void> {
    try {
      this.onClosing();
      await closeFile(this.fd);
    } finally {
      this.#claim.release();
    }
  }

  /** Refuses a read-only device, which the kernel opens for writing and then fails every write. */
  #refuseReadOnlyDevice(readOnly: boolean): void {
    if (!readOnly && this.#sys?.isBlockDeviceReadOnly(this.fd) === 1) throw openError(this.path, Errno.EROFS, false);
  }

  #lock({ readOnly, name, log }: DeviceFileOptions): void {
    const { path } = this;
    if (this.#sys === null) {
      const message = 'the file cannot be locked against other programs without system calls';
      log.warn({ bdev: name, path, reason: whyNoSys() }, message);
      return;
    }
    const { SHARED, EXCLUSIVE, NON_BLOCKING } = FlockOperation;
    const result = this.#sys.flock(this.fd, (readOnly ? SHARED : EXCLUSIVE) | NON_BLOCKING);
    if (result === 0) return;
    if (result === -Errno.EAGAIN) {
      throw new BdevError('ERR_BDEV_CLAIMED', Status.Busy, `${path} is locked: in use by another program`);
    }
    log.warn({ bdev: name, path, errno: -result }, 'the file system cannot lock the file against other programs');
  }
}

/** Opens the file that `pathFd` refers to, whatever is at its path by now. */
async function openDescriptor(
  { path, readOnly, isDirect }: DeviceFileOptions,
  realPath: string,
  pathFd: number,
  stats: Stats,
): Promise<number> {
  let flags = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  if (stats.isBlockDevice()) flags |= constants.O_EXCL;
  if (isDirect) flags |= constants.O_DIRECT;
  try {
    return await openFile(`/proc/self/fd/${pathFd}`, flags);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== Status.Busy) throw openError(path, errno, readOnly, error);
    const use = await describeUse(realPath, await BlockDeviceInfo.find(stats.rdev));
    throw new BdevError('ERR_BDEV_CLAIMED', Status.Busy, `${path} (${deviceNumber(stats.rdev)}) is in use: ${use}`, {
      cause: error,
    });
  }
}
