import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { v5 } from 'uuid';
import type { BlockDeviceInfo } from './sysfs.js';

const uuidNamespace = '3d0c3a9e-5a0b-4a5e-9d0e-0c8f6f6e2c57';

/** Returns the uuid of a device or file that was given none. It is the same as long as the identity is. */
export function uuidOf(identity: string): string {
  return v5(identity, uuidNamespace);
}

/** Identity of a regular file: its path with symbolic links resolved. */
export function fileIdentity(realPath: string): string {
  return `file:${realPath}`;
}

/** Told of a world wide name or serial number that is not used because several disks have it. */
export type OnShared = (value: string, otherDisks: readonly string[]) => void;

/**
 * Identity of a block device, the best of: what the disk reports (world wide name, serial number), the uuid of its mapping
 * (device mapper, md), the file behind a loop device, its path. A partition has its own uuid, else its number on the disk. A
 * value that several disks share (such as a placeholder serial number) is not used: these disks are identified by where they
 * are plugged in, or by their paths.
 */
export async function blockDeviceIdentity(
  realPath: string,
  info: BlockDeviceInfo | null,
  onShared: OnShared = () => undefined,
): Promise<string> {
  if (info === null) return `path:${realPath}`;
  const partition = await info.attribute('partition');
  if (partition === '') return diskIdentity(realPath, info, onShared);
  const partitionUuid = await nameOfLink('/dev/disk/by-partuuid', realPath);
  if (partitionUuid !== null) return `partuuid:${partitionUuid}`;
  const disk = await diskIdentity(realPath, info, onShared);
  return disk.startsWith('path:') ? disk : `${disk}:partition:${partition}`;
}

/** Identity of the disk that a block device is, or is a partition of. */
export async function diskIdentity(
  realPath: string,
  info: BlockDeviceInfo,
  onShared: OnShared = () => undefined,
): Promise<string> {
  const sources = [
    ['wwid', 'wwid'],
    ['wwid', 'device/wwid'],
    ['serial', 'serial'],
    ['serial', 'device/serial'],
    ['dm', 'dm/uuid'],
    ['md', 'md/uuid'],
  ] as const;
  let isShared = false;
  for (const [kind, path] of sources) {
    const value = await info.diskAttribute(path);
    if (value === '') continue;
    const others = isIssuedOnce(kind, value) ? [] : await info.disksWithSame(path);
    if (others.length === 0) return `${kind}:${value}`;
    onShared(value, others);
    isShared = true;
  }
  if (isShared) {
    const port = await nameOfLink('/dev/disk/by-path', realPath);
    return port === null ? `path:${realPath}` : `by-path:${port}`;
  }
  const backingFile = await info.diskAttribute('loop/backing_file');
  if (backingFile === '') return `path:${realPath}`;
  return `loop:${backingFile}:${await info.diskAttribute('loop/offset')}`;
}

/**
 * Names that vendors register (NAA, EUI-64, NVMe's uuid) and those of the kernel are unique: two disks that show the same one
 * are two paths to one disk. A serial number, or a world wide name derived from one (`t10.`), is whatever the disk reports.
 */
function isIssuedOnce(kind: 'wwid' | 'serial' | 'dm' | 'md', value: string): boolean {
  return kind === 'dm' || kind === 'md' || (kind === 'wwid' && /^(naa|eui|uuid)\./.test(value));
}

/** Name of the link in `folder` that leads to `realPath`; null if there is none. */
async function nameOfLink(folder: string, realPath: string): Promise<string | null> {
  try {
    for (const name of (await readdir(folder)).sort()) if ((await realpath(join(folder, name))) === realPath) return name;
  } catch {
    // There is no udev on this system.
  }
  return null;
}
