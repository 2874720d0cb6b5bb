import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Sys } from '@raidkit/sys';

/**
 * Returns the epoll descriptor on which this thread's event loop sleeps; it is readable when the loop has something to do. Node
 * does not expose it, so a socket is added to the loop, and the epoll descriptor that watches this socket is looked up in /proc
 * (proc(5), fdinfo). Returns -1 if it is not found.
 */
export async function findEventLoopFd(sys: Sys): Promise<number> {
  const pair = sys.sockets.pair();
  if (typeof pair === 'number') return -1;
  const [watched, other] = pair;
  const socket = new Socket({ fd: watched, readable: true, writable: true });
  try {
    socket.on('error', () => undefined);
    socket.resume();
    // The loop registers the socket with epoll on its way into its next sleep.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    return watcherOf(watched);
  } finally {
    socket.destroy();
    sys.close(other);
  }
}

function watcherOf(fd: number): number {
  const target = new RegExp(`^tfd:\\s*${fd}\\s`, 'm');
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) !== 'anon_inode:[eventpoll]') continue;
      if (target.test(readFileSync(`/proc/self/fdinfo/${name}`, 'utf8'))) return Number(name);
    } catch {
      // Another thread has closed it meanwhile.
    }
  }
  return -1;
}
