import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { defaultLevelPackages, startDaemon } from '../../src/index.js';
import type { DaemonOptions } from '../../src/index.js';
import { spawnDaemon } from './process.js';
import { RpcClient } from './rpc-client.js';

export interface TestDaemon {
  folder: string;
  rpcPath: string;
  nbdPath: string;
  client: RpcClient;
  /** Resolves when the daemon was asked to stop. */
  stopRequested: Promise<unknown>;
  /** Stops the daemon and removes its folder. */
  end(): Promise<void>;
}

type Options = Pick<Partial<DaemonOptions>, 'configPath' | 'statePath' | 'isStrict' | 'waitForRpc'>;

/** With RAIDKIT_REACTORS=2 the same tests run with two reactors. */
export const reactors = Number(process.env.RAIDKIT_REACTORS ?? 1);

/** A daemon with its sockets in a folder of its own: in this process, or, with several reactors, the built one in its own. */
export async function startTestDaemon(options: Options = {}): Promise<TestDaemon> {
  const folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  const places = { folder, rpcPath: join(folder, 'rpc.sock'), nbdPath: join(folder, 'nbd.sock') };
  const started = reactors > 1 ? await startProcess(options, places) : await startHere(options, places);
  const test: TestDaemon = {
    ...places,
    ...started,
    async end() {
      test.client.close();
      await started.end();
      rmSync(folder, { recursive: true });
    },
  };
  return test;
}

type Places = Pick<TestDaemon, 'folder' | 'rpcPath' | 'nbdPath'>;
type Started = Pick<TestDaemon, 'client' | 'stopRequested' | 'end'>;

async function startHere(options: Options, { rpcPath, nbdPath }: Places): Promise<Started> {
  const daemon = await startDaemon({
    rpc: [{ path: rpcPath }],
    nbd: [{ unix: nbdPath }],
    levels: defaultLevelPackages,
    conditions: ['@raidkit/source'],
    memoryBytes: 128 << 20,
    log: pino({ level: 'silent' }),
    ...options,
  });
  const client = await RpcClient.connect(rpcPath);
  return {
    client,
    stopRequested: daemon.stopRequested,
    end: () => daemon.stop(),
  };
}

async function startProcess(
  { configPath, statePath, isStrict = false, waitForRpc = false }: Options,
  { rpcPath, nbdPath }: Places,
): Promise<Started> {
  const files = [
    ...(configPath === undefined ? [] : ['-c', configPath]),
    ...(statePath === undefined ? [] : ['--state', statePath]),
  ];
  const extra = [...files, ...(isStrict ? ['--strict'] : []), ...(waitForRpc ? ['--wait-for-rpc'] : [])];
  const {
    child,
    client: first,
    exited,
  } = await spawnDaemon(rpcPath, ['-r', rpcPath, '--nbd', `unix:${nbdPath}`, '--memory', '128', ...extra]);
  first.close();
  // Returns a client that has not sent anything.
  const client = await RpcClient.connect(rpcPath);
  return {
    client,
    stopRequested: exited,
    async end() {
      child.kill('SIGTERM');
      const code = await exited;
      if (code !== 0) throw new Error(`the daemon ended with ${code}`);
    },
  };
}
