import { readFile } from 'node:fs/promises';
import type { BlockDeviceInfo } from './sysfs.js';

/**
 * What uses the block device, as far as that can be found out: mounts and swap areas of this process's namespace, devices that
 * stand on it. For messages.
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

/** Where one of the devices is mounted; null if nowhere. `mountinfo` is as proc_pid_mountinfo(5) says. */
export function mountPoint(mountinfo: string, path: string, numbers: readonly string[]): string | null {
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , number = '', , where = ''] = before.split(' ');
    // Some file systems have a device number of their own; the source is the device's path then.
    const [, source = ''] = after.split(' ');
    if (numbers.includes(number) || unescape(source) === path) return unescape(where);
  }
  return null;
}

/** Blanks and the like are written as octal escapes. */
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
