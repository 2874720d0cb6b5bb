import type { BlockClient } from '@raidkit/bdev';
import { parseSuperblock } from '@raidkit/superblock';
import { plugIn } from './ram-disk.js';
import type { RamDisk } from './ram-disk.js';
import { memberUuid, newRig, openVolume } from './rig.js';
import type { Rig } from './rig.js';

const MiB = 1 << 20;

/** An array `a` with superblocks over disks `m0`, `m1` …, and its volume, open. */
export interface Built {
  rig: Rig;
  disks: RamDisk[];
  volume: BlockClient;
}

export async function build(
  level: string,
  members: number,
  options: { mebibytes?: number; stripSizeKb?: number; integrity?: boolean; checksumCacheBytes?: number } = {},
): Promise<Built> {
  const { checksumCacheBytes } = options;
  const rig = newRig(checksumCacheBytes === undefined ? {} : { checksumCacheBytes });
  const disks: RamDisk[] = [];
  for (let index = 0; index < members; index++) {
    const bytes = new Uint8Array((1 + (options.mebibytes ?? 2)) * MiB);
    disks.push((await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk);
  }
  const strip = level === 'raid1' ? {} : { stripSizeKb: options.stripSizeKb ?? 16 };
  const { integrity = false } = options;
  const baseBdevs = disks.map((_, index) => `m${index}`);
  await rig.arrays.create({ name: 'a', level, baseBdevs, superblock: true, integrity, ...strip });
  return { rig, disks, volume: openVolume(rig, 'a') };
}

/** The first byte of each block, or `EIO`. */
export async function bytesOf(volume: BlockClient, offset: number, count: number): Promise<(number | string)[]> {
  const seen: (number | string)[] = [];
  for (let block = offset; block < offset + count; block++) {
    seen.push(
      await volume.read(block, 1).then(
        ([byte]) => byte!,
        (error: unknown) => /E[A-Z]+/.exec(String(error))![0],
      ),
    );
  }
  return seen;
}

/** So many blocks of one byte. */
export function blocks(count: number, fill: number): Uint8Array {
  return new Uint8Array(count * 512).fill(fill);
}

export function superblockOf(disk: RamDisk): Extract<ReturnType<typeof parseSuperblock>, { ok: true }>['superblock'] {
  const parsed = parseSuperblock(disk.bytes.subarray(0, 16_896));
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.superblock;
}
