import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { nbdUri } from '@raidkit/nbd';
import type { NbdAddress } from './exports.js';
import type { Caller } from './rpc/dispatcher.js';

/** Number of the demonstration's members, which are sparse files. */
const members = 4;
const memberBytes = 256 * 1024 * 1024;
const volume = 'demo';

/** Paths and port of the demonstration. */
export interface DemoPlaces {
  folder: string;
  rpc: string;
  nbd: string;
  tcpPort: number;
}

export function demoPlaces(folder: string): DemoPlaces {
  const absolute = resolve(folder);
  return { folder: absolute, rpc: join(absolute, 'rpc.sock'), nbd: join(absolute, 'nbd.sock'), tcpPort: 10_809 };
}

/** Addresses at which it serves NBD. */
export function demoAddresses(places: DemoPlaces): NbdAddress[] {
  return [{ unix: places.nbd }, { host: '127.0.0.1', port: places.tcpPort }];
}

/** Makes the member files if they do not exist. */
export function makeMemberFiles({ folder }: DemoPlaces): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (let index = 0; index < members; index++) {
    const path = memberPath(folder, index);
    if (existsSync(path)) continue;
    const fd = openSync(path, 'wx', 0o600);
    ftruncateSync(fd, memberBytes);
    closeSync(fd);
  }
}

/**
 * Opens the members. The array assembles from them if it was made before; otherwise it is created. Returns which of the two
 * happened.
 */
export async function startDemo(caller: Caller, { folder }: DemoPlaces): Promise<'created' | 'assembled'> {
  const names = Array.from({ length: members }, (_, index) => `member${index}`);
  for (const [index, name] of names.entries()) {
    await caller.call('bdev_aio_create', {
      name,
      filename: memberPath(folder, index),
      block_size: 512,
      fallocate: true,
      uuid: `d3300000-0000-4000-8000-00000000000${index}`,
    });
  }
  await caller.call('bdev_wait_for_examine', undefined);
  const arrays = (await caller.call('bdev_raid_get_bdevs', { category: 'all' })) as { name: string }[];
  if (arrays.some(({ name }) => name === volume)) return 'assembled';
  await caller.call('bdev_raid_create', {
    name: volume,
    raid_level: 'raid5f',
    strip_size_kb: 64,
    base_bdevs: names,
    superblock: true,
  });
  return 'created';
}

/** Text that tells the user what to try. */
export function demoText(places: DemoPlaces, how: 'created' | 'assembled'): string {
  const [unix = '', ...others] = demoAddresses(places).map((address) => nbdUri(address, volume));
  const did = how === 'created' ? 'created' : 'restored, with its data,';
  return `
raidkitd has ${did} the raid5f volume "${volume}" over ${members} files in ${places.folder}

  ${[unix, ...others].join('\n  ')}

Try, in another terminal:

  export RAIDKIT_SOCKET=${places.rpc}
  npx @raidkit/raidctl status
  npx @raidkit/raidctl offline demo member1
  npx @raidkit/raidctl doctor
  npx @raidkit/raidctl online demo member1 --wait

With NBD clients (apt install libnbd-bin, say):

  nbdinfo "${unix}"
  nbdcopy /etc/services "${unix}" && nbdcopy "${unix}" - | head -n 5

Ctrl-C stops it; the next start restores the volume.
`;
}

function memberPath(folder: string, index: number): string {
  return join(folder, `member${index}.img`);
}
