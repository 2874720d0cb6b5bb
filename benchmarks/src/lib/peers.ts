import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { serve } from './commands.js';
import type { Service } from './commands.js';
import { addMember, addVolume, startRaidkit } from './raidkit.js';
import type { Contender } from './rounds.js';

/** An NBD server that serves one volume. */
export interface NbdServerUnderTest extends Contender {
  readonly uri: string;
  /** Null for TCP. */
  readonly socketPath: string | null;
  end(): Promise<void>;
}

/** Where the server listens: a Unix socket in a folder, or a port of the loopback. With `certificates`, a folder of them, over TLS only. */
export type Place = { folder: string; certificates?: string } | { folder: string; port: number; certificates?: string };

export async function startNbdkit(file: string, place: Place): Promise<NbdServerUnderTest> {
  const path = join(place.folder, 'nbdkit.nbd');
  const where = 'port' in place ? ['-p', String(place.port), '-i', '127.0.0.1'] : ['-U', path];
  const tls = place.certificates === undefined ? [] : ['--tls=require', `--tls-certificates=${place.certificates}`];
  return server('nbdkit', 'nbdkit', ['-f', ...where, ...tls, 'file', file], place, path);
}

/** @param direct past the page cache */
export async function startQemu(file: string, place: Place, direct = false): Promise<NbdServerUnderTest> {
  const path = join(place.folder, `qemu${direct ? '-direct' : ''}.nbd`);
  const where = 'port' in place ? ['-p', String(place.port), '-b', '127.0.0.1'] : ['-k', path];
  const tls =
    place.certificates === undefined
      ? []
      : ['--object', `tls-creds-x509,id=tls,endpoint=server,dir=${place.certificates},verify-peer=off`, '--tls-creds', 'tls'];
  const args = [
    ...where,
    ...tls,
    '-t',
    '-e',
    '16',
    '-f',
    'raw',
    '--aio=io_uring',
    `--cache=${direct ? 'none' : 'writeback'}`,
    file,
  ];
  return server('qemu-nbd', 'qemu-nbd', args, place, path);
}

async function server(
  name: string,
  command: string,
  args: readonly string[],
  place: Place,
  path: string,
): Promise<NbdServerUnderTest> {
  const isUp = 'port' in place ? () => canConnect(place.port) : () => Promise.resolve(existsSync(path));
  const service: Service = await serve(command, args, isUp);
  const uri = uriOf(place, path, '');
  return { name, pids: [service.pid], uri, socketPath: 'port' in place ? null : path, end: () => service.end() };
}

function uriOf(place: Place, path: string, exportName: string): string {
  const scheme = place.certificates === undefined ? 'nbd' : 'nbds';
  return 'port' in place
    ? `${scheme}://127.0.0.1:${place.port}/${exportName}`
    : `${scheme}+unix:///${exportName}?socket=${path}`;
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** How one of ours is started. */
export interface OwnOptions {
  name: string;
  engine: 'uring' | 'portable';
  spinMicroseconds?: number;
  direct?: boolean;
}

/** A raidkitd that serves a volume of one member: a raid0 with a superblock. */
export async function startOwn(
  file: string,
  place: Place,
  { name, engine, spinMicroseconds, direct = false }: OwnOptions,
): Promise<NbdServerUnderTest> {
  const raidkit = await startRaidkit({
    folder: place.folder,
    name,
    engine,
    ...(spinMicroseconds === undefined ? {} : { spinMicroseconds }),
    ...('port' in place ? { tcpPort: place.port } : {}),
    ...(place.certificates === undefined ? {} : { certificates: place.certificates }),
  });
  await addMember(raidkit.rpc, 'member', file, direct);
  await addVolume(raidkit.rpc, 'volume', 'raid0', ['member']);
  raidkit.rpc.close();
  const uri = uriOf(place, raidkit.nbdPath, 'volume');
  return { name, pids: [raidkit.pid], uri, socketPath: 'port' in place ? null : raidkit.nbdPath, end: () => raidkit.end() };
}
