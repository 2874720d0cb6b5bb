import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { serve } from './commands.js';
import { Rpc } from './rpc.js';

const daemonFolder = dirname(createRequire(import.meta.url).resolve('@raidkit/daemon/package.json'));

/** How a daemon is started. */
export interface RaidkitOptions {
  folder: string;
  /** For its sockets; unique in the folder. */
  name: string;
  engine: 'uring' | 'portable';
  spinMicroseconds?: number;
  reactors?: number;
  memoryMib?: number;
  tcpPort?: number;
  configPath?: string;
  /** A Unix socket for HTTP. */
  httpPath?: string;
  /** A server's certificates; NBD is over TLS only with them. */
  certificates?: string;
}

/** A raidkitd in a process of its own. */
export interface Raidkit {
  readonly pid: number;
  readonly rpc: Rpc;
  readonly nbdPath: string;
  uri(volume: string): string;
  end(): Promise<void>;
}

export async function startRaidkit({
  folder,
  name,
  engine,
  spinMicroseconds,
  reactors,
  memoryMib = 512,
  tcpPort,
  configPath,
  httpPath,
  certificates,
}: RaidkitOptions): Promise<Raidkit> {
  const rpcPath = join(folder, `${name}.rpc`);
  const nbdPath = join(folder, `${name}.nbd`);
  const args = [
    join(daemonFolder, 'bin/raidkitd.js'),
    '-r',
    rpcPath,
    '--nbd',
    `unix:${nbdPath}`,
    '--engine',
    engine,
    '--memory',
    String(memoryMib),
    '--log-level',
    'warn',
  ];
  if (spinMicroseconds !== undefined) args.push('--spin', String(spinMicroseconds));
  if (reactors !== undefined) args.push('--reactors', String(reactors));
  if (tcpPort !== undefined) args.push('--nbd', `tcp:127.0.0.1:${tcpPort}`);
  if (configPath !== undefined) args.push('-c', configPath);
  if (httpPath !== undefined) args.push('--http', `unix:${httpPath}`);
  if (certificates !== undefined) args.push('--tls', 'require', '--tls-certificates', certificates);
  let rpc: Rpc | undefined;
  const service = await serve(process.execPath, args, async () => {
    if (!existsSync(rpcPath)) return false;
    rpc ??= await Rpc.connect(rpcPath).catch(() => undefined);
    return rpc !== undefined;
  });
  if (rpc === undefined) throw new Error('the daemon does not answer');
  await rpc.call('framework_wait_init');
  return {
    pid: service.pid,
    rpc,
    nbdPath,
    uri: (volume) => `nbd+unix:///${volume}?socket=${nbdPath}`,
    end: () => service.end(),
  };
}

/** Adds a file or device. */
export async function addMember(rpc: Rpc, name: string, path: string, direct: boolean, blockSize?: number): Promise<void> {
  const size = blockSize === undefined ? {} : { block_size: blockSize };
  await rpc.call('bdev_aio_create', { name, filename: path, direct_io: direct ? 'require' : 'never', ...size });
}

/** A volume over members that have been added. It is exported under its name. */
export async function addVolume(
  rpc: Rpc,
  name: string,
  level: string,
  members: readonly string[],
  { stripSizeKb = 64, integrity = false } = {},
): Promise<void> {
  const checked = integrity ? { integrity } : {};
  const strip = level === 'raid1' ? {} : { strip_size_kb: stripSizeKb };
  await rpc.call('bdev_raid_create', { name, raid_level: level, base_bdevs: members, superblock: true, ...strip, ...checked });
}
