import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Sys } from '@raidkit/sys';

/**
 * The epoll descriptor on which this thread's event loop sleeps: it is readable when the loop has something to do. Node does
 * not tell, so a socket is put into the loop, and the epoll descriptor that watches it is the one (proc(5), fdinfo). -1 if
 * it cannot be found.
 */
export async function findEventLoopFd(sys: Sys): Promise<number> {
  const pair = sys.sockets.pair();
  if (typeof pair === 'number') return -1;
  const [watched, other] = pair;
  const socket = new Socket({ fd: watched, readable: true, writable: true });
  try {
    socket.on('error', () => undefined);
    socket.resume();
    // The loop starts to watch it on its way into its next sleep.
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
      // Closed meanwhile, by another thread.
    }
  }
  return -1;
}
