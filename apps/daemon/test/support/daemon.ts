import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { defaultLevelPackages, startDaemon } from '../../src/index.js';
import type { Daemon, DaemonOptions } from '../../src/index.js';
import { RpcClient } from './rpc-client.js';

export interface TestDaemon {
  daemon: Daemon;
  folder: string;
  rpcPath: string;
  nbdPath: string;
  client: RpcClient;
  /** Stops the daemon and removes its folder. */
  end(): Promise<void>;
}

/** A daemon in this process, with its sockets in a folder of its own. */
export async function startTestDaemon(options: Partial<DaemonOptions> = {}): Promise<TestDaemon> {
  const folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  const rpcPath = join(folder, 'rpc.sock');
  const nbdPath = join(folder, 'nbd.sock');
  const daemon = await startDaemon({
    rpc: [{ path: rpcPath }],
    nbd: [{ unix: nbdPath }],
    levels: defaultLevelPackages,
    folder: process.cwd(),
    conditions: ['@raidkit/source'],
    memoryBytes: 128 << 20,
    log: pino({ level: 'silent' }),
    ...options,
  });
  const client = await RpcClient.connect(rpcPath);
  return {
    daemon,
    folder,
    rpcPath,
    nbdPath,
    client,
    async end() {
      client.close();
      await daemon.stop();
      rmSync(folder, { recursive: true });
    },
  };
}
