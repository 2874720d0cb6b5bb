import { readFile } from 'node:fs/promises';
import type { BlockDeviceInfo } from './sysfs.js';

/**
 * Returns what uses the block device, for messages: mounts and swap areas of this process's namespace, or devices built on it.
 */
export async function describeUse(path: string, info: BlockDeviceInfo | null): Promise<string> {
  const numbers = (await info?.deviceNumbers()) ?? [];
  const mountedAt = mountPoint(await read('/proc/self/mountinfo'), path, numbers);
  if (mountedAt !== null) return `mounted at ${mountedAt}`;
  if ((await read('/proc/swaps')).split('\n').some((line) => line.startsWith(`${path} `))) return 'a swap area';
  const holders = (await info?.holders()) ?? [];
  if (holders.length > 0) return `part of ${holders.join(', ')}`;
  return 'in use by another program, or by another array';
}

/** Mount point of one of the devices; null if none is mounted. `mountinfo` has the format of proc_pid_mountinfo(5). */
export function mountPoint(mountinfo: string, path: string, numbers: readonly string[]): string | null {
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , number = '', , where = ''] = before.split(' ');
    // Some file systems have a device number of their own; their mount source is the device's path.
    const [, source = ''] = after.split(' ');
    if (numbers.includes(number) || unescape(source) === path) return unescape(where);
  }
  return null;
}

/** Decodes the octal escapes that stand for blanks and similar characters. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_match, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return '';
  }
}
