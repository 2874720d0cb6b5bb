import { readFile, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A device number as /sys and /proc write it, `8:1`. `rdev` is encoded as `st_rdev`, see makedev in major(3). */
export function deviceNumber(rdev: number): string {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xffff_f000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffff_ff00n);
  return `${major}:${minor}`;
}

/** Information about a block device under /sys. */
export class BlockDeviceInfo {
  /** Folder of the device, or of the partition. */
  readonly folder: string;
  /** Folder of the whole disk. */
  readonly diskFolder: string;
  readonly #sys: string;

  private constructor(folder: string, diskFolder: string, sys: string) {
    this.folder = folder;
    this.diskFolder = diskFolder;
    this.#sys = sys;
  }

  /** Returns null if the device does not exist any more, or there is no /sys. */
  static async find(rdev: number, sys = '/sys'): Promise<BlockDeviceInfo | null> {
    let folder;
    try {
      folder = await realpath(join(sys, 'dev/block', deviceNumber(rdev)));
    } catch {
      return null;
    }
    const isPartition = (await text(join(folder, 'partition'))) !== '';
    return new BlockDeviceInfo(folder, isPartition ? dirname(folder) : folder, sys);
  }

  /** Kernel name, such as `sda1`. */
  get name(): string {
    return basename(this.folder);
  }

  /** The first line of a file in the device's folder; empty if there is none. */
  attribute(path: string): Promise<string> {
    return text(join(this.folder, path));
  }

  /** As {@link attribute}, for the whole disk. */
  diskAttribute(path: string): Promise<string> {
    return text(join(this.diskFolder, path));
  }

  /**
   * The serial number printed on the whole disk; null if the kernel does not report it. SCSI and SATA disks have it in a page
   * of vital product data: four bytes, of which the second is the page's number and the last two are the text's length, and the
   * text.
   */
  async serial(): Promise<string | null> {
    for (const path of ['serial', 'device/serial']) {
      const found = await this.diskAttribute(path);
      if (found !== '') return found;
    }
    const page = await readFile(join(this.diskFolder, 'device/vpd_pg80')).catch(() => null);
    if (page === null || page.length < 4 || page[1] !== 0x80) return null;
    const printed = page
      .toString('latin1', 4, 4 + page.readUInt16BE(2))
      .replace(/[^ -~]/g, '')
      .trim();
    return printed === '' ? null : printed;
  }

  /** Names of other disks whose files at `path` begin with the same line. */
  async disksWithSame(path: string): Promise<string[]> {
    const value = await this.diskAttribute(path);
    const numbers = join(this.#sys, 'dev/block');
    const found: string[] = [];
    for (const number of await names(numbers)) {
      const folder = await realpath(join(numbers, number)).catch(() => this.diskFolder);
      // A partition has no such file; its disk has an entry of its own.
      if (folder !== this.diskFolder && (await text(join(folder, path))) === value) found.push(basename(folder));
    }
    return found;
  }

  /** Numbers of the device and of its partitions, as in `deviceNumber`. */
  async deviceNumbers(): Promise<string[]> {
    const numbers = [await this.attribute('dev')];
    for (const name of await names(this.folder)) {
      if ((await this.attribute(join(name, 'partition'))) !== '') numbers.push(await this.attribute(join(name, 'dev')));
    }
    return numbers;
  }

  /** Names of devices built on this one or its partitions: `dm-0`, `md127`. */
  async holders(): Promise<string[]> {
    const holders = await names(join(this.folder, 'holders'));
    for (const name of await names(this.folder)) holders.push(...(await names(join(this.folder, name, 'holders'))));
    return [...new Set(holders)];
  }
}

/** Whether the kernel still has the block device. True also where there is no /sys to ask. */
export async function isPresent(rdev: number, sys = '/sys'): Promise<boolean> {
  const folder = join(sys, 'dev/block');
  if (!(await exists(folder))) return true;
  return exists(join(folder, deviceNumber(rdev)));
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

async function names(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch {
    return [];
  }
}

async function text(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).split('\n')[0]?.trim() ?? '';
  } catch {
    return '';
  }
}
