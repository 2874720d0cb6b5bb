import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { spawnDaemon } from './process.js';
import type { DaemonProcess } from './process.js';

/** What each test of a file has: a folder of its own, and a daemon, in a process of its own, once it starts one. */
export interface OneDaemon {
  folder: string;
  /** Null before `start`. */
  daemon: DaemonProcess | null;
  /** Path in the folder. */
  nbdPath: string;
  /** Starts the daemon, with its control socket in the folder. */
  start(args: readonly string[]): Promise<DaemonProcess>;
}

/** Makes, before each test of the file that calls this, and cleans up after it. */
export function oneDaemon(): OneDaemon {
  const test: OneDaemon = {
    folder: '',
    daemon: null,
    nbdPath: '',
    async start(args) {
      const rpc = join(test.folder, 'rpc.sock');
      return (test.daemon = await spawnDaemon(rpc, ['-r', rpc, ...args]));
    },
  };
  beforeEach(() => {
    test.folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
    test.nbdPath = join(test.folder, 'nbd.sock');
  });
  afterEach(async () => {
    if (test.daemon !== null) {
      test.daemon.client.close();
      test.daemon.child.kill('SIGKILL');
      await test.daemon.exited;
      test.daemon = null;
    }
    rmSync(test.folder, { recursive: true });
  });
  return test;
}
