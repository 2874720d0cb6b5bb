import { BdevError, Status, statusName } from '@raidkit/bdev';
import type { Runtime } from '@raidkit/bdev';
import { loadSys } from '@raidkit/sys';
import { DeviceFile } from './device-file.js';
import { wholeUnits } from './engine.js';
import type { IoEngine } from './engine.js';

/** Whether I/O bypasses the page cache (O_DIRECT): if possible, always (opening fails otherwise), or never. */
export type DirectIo = 'auto' | 'require' | 'never';

/** Largest block size of a bdev, in bytes. */
const mostBlockBytes = 65_536;

/** Options of {@link openUsable}. */
export interface UsableFileOptions {
  name: string;
  path: string;
  blockSize?: number;
  readOnly?: boolean;
  directIo?: DirectIo;
  /** Throws if the file at this path, free of symbolic links, must not be opened. */
  check?: (realPath: string) => void;
}

/** An open file that has passed a trial read. */
export interface UsableFile {
  file: DeviceFile;
  blockSize: number;
  numBlocks: number;
}

/** Opens the file, bypassing the page cache if that is wanted and works. The caller closes it. */
export async function openUsable(runtime: Runtime, engine: IoEngine, options: UsableFileOptions): Promise<UsableFile> {
  const { name, path, directIo = 'auto' } = options;
  if (directIo === 'never') return tryToOpen(runtime, engine, options, false);
  try {
    return await tryToOpen(runtime, engine, options, true);
  } catch (error) {
    const isRefused = BdevError.is(error) && error.code === 'ERR_BDEV_IO' && error.errno === Status.Invalid;
    if (directIo === 'require' || !isRefused) throw error;
    const usable = await tryToOpen(runtime, engine, options, false);
    const message = 'the device or file system does not support O_DIRECT with this block size: the page cache is used';
    runtime.log.warn({ bdev: name, path, blockSize: usable.blockSize, reason: error.message }, message);
    return usable;
  }
}

async function tryToOpen(
  runtime: Runtime,
  engine: IoEngine,
  options: UsableFileOptions,
  isDirect: boolean,
): Promise<UsableFile> {
  const { name, path, readOnly = false, check } = options;
  const how = { name, path, readOnly, isDirect, ...(check === undefined ? {} : { check }) };
  const file = await DeviceFile.open({ ...how, sys: loadSys(), log: runtime.log });
  engine.opened?.(file.fd, isDirect);
  file.onClosing = () => engine.closing?.(file.fd);
  try {
    const blockSize = await chooseBlockSize(file, options.blockSize);
    const bytes = await file.sizeBytes();
    const numBlocks = Math.floor(bytes / blockSize);
    if (numBlocks < 1) {
      const message = `${path} is too small: ${bytes} bytes are less than a block of ${blockSize}`;
      throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, message);
    }
    const errno = await probe(runtime, engine, file, blockSize);
    if (errno !== Status.Ok) {
      const message = `${path} cannot be read${isDirect ? ' with O_DIRECT' : ''}: ${statusName(errno)}`;
      throw new BdevError('ERR_BDEV_IO', errno, message);
    }
    const unusedBytes = bytes - numBlocks * blockSize;
    if (unusedBytes > 0) {
      runtime.log.warn(
        { bdev: name, path, bytes, unusedBytes },
        'the size is not a whole number of blocks: the rest is not used',
      );
    }
    return { file, blockSize, numBlocks };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function chooseBlockSize(file: DeviceFile, wanted: number | undefined): Promise<number> {
  const refuse = (what: string): never => {
    throw new BdevError('ERR_BDEV_INVALID', Status.Invalid, `${file.path}: ${what}`);
  };
  if (wanted !== undefined && !(wanted >= 512 && wanted <= mostBlockBytes && (wanted & (wanted - 1)) === 0)) {
    refuse(`the block size must be a power of two from 512 to ${mostBlockBytes}, not ${wanted}`);
  }
  const smallest = file.isBlockDevice ? await file.logicalBlockSize() : 512;
  if (wanted !== undefined && wanted < smallest) {
    refuse(`the device has blocks of ${smallest} bytes and cannot have smaller ones of ${wanted}`);
  }
  return wanted ?? smallest;
}

/** Reads the first block in the same way as later I/O. */
async function probe(runtime: Runtime, engine: IoEngine, file: DeviceFile, blockSize: number): Promise<Status> {
  const { memory } = runtime;
  const addr = memory.allocRegion(blockSize);
  if (addr < 0) throw new BdevError('ERR_BDEV_IO', Status.NoMemory, `${file.path}: not enough I/O memory to open it`);
  try {
    const result = await new Promise<number>((resolve) => engine.read(file.fd, addr, blockSize, 0, { onEngineDone: resolve }));
    if (result < 0) return -result;
    return wholeUnits(result, blockSize) > 0 ? Status.Ok : Status.IoError;
  } finally {
    memory.freeRegion(addr);
  }
}
