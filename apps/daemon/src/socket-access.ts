import { chmodSync, chownSync } from 'node:fs';
import { readSmallFile } from './small-file.js';

const groupsFile = '/etc/group';
const mostBytes = 16 << 20;
/** Largest group id on Linux; 2³² − 1 stands for none. */
const mostId = 2 ** 32 - 2;

/** Returns a group's id, by its name in /etc/group or as a number. Throws if the name does not exist. */
export function groupId(group: string): number {
  if (/^\d{1,10}$/.test(group) && Number(group) <= mostId) return Number(group);
  for (const line of readSmallFile(groupsFile, mostBytes).split('\n')) {
    const [name, , id] = line.split(':');
    if (name === group && id !== undefined && /^\d{1,10}$/.test(id)) return Number(id);
  }
  throw new Error(`there is no group ${group} in ${groupsFile}`);
}

/** Who may connect to a Unix socket: its owner (600), the group too (660), or every user of the machine (666). */
export type SocketMode = 0o600 | 0o660 | 0o666;

/**
 * Lets users other than its owner connect to a listening Unix socket; without `group` it keeps its group. No other user can
 * have replaced it, because sockets are made only in folders that others cannot write to. Throws if the process may not set the
 * group.
 */
export function openSocket(path: string, mode: SocketMode, group?: number): void {
  try {
    // Done before the mode is changed, so that no other group has access for a moment.
    if (group !== undefined) chownSync(path, -1, group);
  } catch (cause) {
    throw new Error(`${path} cannot be given to group ${group} (--socket-group): run the daemon as a member of it`, { cause });
  }
  chmodSync(path, mode);
}
