import { chmodSync, chownSync } from 'node:fs';
import { readSmallFile } from './small-file.js';

const groupsFile = '/etc/group';
const mostBytes = 16 << 20;
/** Largest id of a group on Linux; 2³² − 1 stands for none. */
const mostId = 2 ** 32 - 2;

/** The id of a group: that of its name in /etc/group, or the number itself. Throws for a name that is not there. */
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
 * Lets others than its owner connect to a Unix socket that listens; without a group it keeps the one that it has. No other user
 * can have put anything else in its place: sockets are made only in folders that others cannot write to. Throws if the process
 * may not give it to the group.
 */
export function openSocket(path: string, mode: SocketMode, group?: number): void {
  try {
    // Before the mode: no other group is to have it for a moment.
    if (group !== undefined) chownSync(path, -1, group);
  } catch (cause) {
    throw new Error(`${path} cannot be given to group ${group} (--socket-group): run the daemon as a member of it`, { cause });
  }
  chmodSync(path, mode);
}
