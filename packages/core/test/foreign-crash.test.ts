import { IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { encodeSuperblock } from '@raidkit/superblock';
import { expect, it } from 'vitest';
import { blocks, build, superblockOf } from '../../../test/support/array-on-disks.js';
import { plugIn } from '../../../test/support/ram-disk.js';
import type { RamDisk } from '../../../test/support/ram-disk.js';
import { memberUuid, newRig, openVolume, until } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';

/** First block of a member's data area. */
const dataAt = 2048;
/** First block of a stripe in the second region, with its data on m0 and m1. */
const second = 66 * 64;

type Images = (Uint8Array | null)[];

/** SPDK has run the array with these members, and has written to them. */
function ranBySpdk(
  disks: readonly (RamDisk | null)[],
  write: (bytes: Uint8Array, index: number) => void = () => undefined,
): Images {
  return disks.map((disk, index) => {
    if (disk === null) return null;
    const bytes = disk.bytes.slice();
    const superblock = superblockOf(disk);
    bytes.set(encodeSuperblock({ ...superblock, seqNumber: superblock.seqNumber + 1 }));
    write(bytes, index);
    return bytes;
  });
}

/** Starts the array, without force. `onWrite` is called before each I/O of the start that writes or flushes. */
async function start(images: Images, onWrite: (now: Images) => void = () => undefined): Promise<Rig> {
  const rig = newRig({ memoryBytes: 16 << 20 });
  const copies = images.map((bytes) => bytes?.slice() ?? null);
  const fault = ({ type }: BdevIo): Status => {
    if (type !== IoType.Read && rig.arrays.get('a')?.state === 'configuring')
      onWrite(copies.map((bytes) => bytes?.slice() ?? null));
    return Status.Ok;
  };
  for (const [index, bytes] of copies.entries()) {
    if (bytes !== null) await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes, fault });
  }
  await until(() => rig.arrays.get('a')?.state === 'online', 'it is started');
  return rig;
}

/** The members as a crash leaves them at each such I/O of a start. */
async function crashesIn(images: Images): Promise<Images[]> {
  const found: Images[] = [];
  const rig = await start(images, (now) => {
    // Most flushes change nothing: a copy is kept only if the disks have changed since the last one.
    const last = found[found.length - 1];
    if (last === undefined || now.some((bytes, index) => isOther(bytes, last[index] ?? null))) found.push(now);
  });
  await rig.arrays.stop();
  return found;
}

function isOther(one: Uint8Array | null, other: Uint8Array | null): boolean {
  return one !== null && other !== null && Buffer.compare(one, other) !== 0;
}

async function seen(rig: Rig, offsets: readonly number[]): Promise<(number | string)[]> {
  const volume = openVolume(rig, 'a');
  const results: (number | string)[] = [];
  for (const offset of offsets) {
    const read = volume.read(offset, 1);
    results.push(
      await read.then(
        ([byte]) => byte ?? -1,
        () => 'EIO',
      ),
    );
  }
  volume.descriptor.close();
  return results;
}

/** A whole array after a clean stop, ones all over; SPDK has written fives to what is the volume's first stripe. */
async function whole(level: string, members: number): Promise<Images> {
  const { rig, disks, volume } = await build(level, members);
  await volume.write(0, blocks(256, 1));
  volume.descriptor.close();
  await rig.arrays.stop();
  const isParity = level === 'raid5f';
  return ranBySpdk(disks, (bytes, index) => {
    // The parity of two strips of fives is zero.
    bytes.fill(isParity && index === members - 1 ? 0 : 5, dataAt * 512, (dataAt + 32) * 512);
  });
}

/**
 * A raid5f of three without m1 that was killed in a write to a stripe of its second region, on m0 and not in the parity on
 * m2: the block of the absent member in that column is in doubt. Only the newest page says that the region was being written.
 */
async function inDoubt(): Promise<Images> {
  const { rig, disks, volume } = await build('raid5f', 3);
  await volume.write(0, blocks(256, 1));
  await rig.arrays.removeBaseBdev('m1');
  await volume.write(second, blocks(64, 1));
  await volume.write(second + 64, blocks(64, 5));
  disks[2]!.fault = (io) => (io.type === IoType.Write && io.offsetBlocks >= dataAt ? null : Status.Ok);
  disks[0]!.fault = disks[2]!.fault;
  void volume.write(second, blocks(1, 2)).catch(() => undefined);
  await until(() => disks[0]!.held.length + disks[2]!.held.length === 2, 'data and parity are held back');
  const [io] = disks[0]!.held;
  disks[0]!.finish(io!, Status.Ok);
  return ranBySpdk([disks[0]!, null, disks[2]!]);
}

for (const [what, make, offsets, right] of [
  ['a mirror of two', () => whole('raid1', 2), [0, 31, 64], [5, 5, 1]],
  ['a raid5f', () => whole('raid5f', 3), [0, 63, 64], [5, 5, 1]],
  [
    'a raid5f without a member, in doubt',
    inDoubt,
    [0, 32, second, second + 32, second + 64, second + 96],
    [1, 1, 2, 'EIO', 5, 5],
  ],
] as const) {
  it(`${what} that SPDK ran starts by itself after a crash, and another one, anywhere in its next start`, async () => {
    const images = await make();
    const crashes = await crashesIn(images);
    expect(crashes.length).toBeGreaterThan(6);
    for (const [index, crash] of crashes.entries()) {
      const again = index === crashes.length >> 1 ? await crashesIn(crash) : [];
      for (const found of [crash, ...again.filter((_, at) => at % 2 === 0)]) {
        const rig = await start(found);
        expect(await seen(rig, offsets)).toEqual(right);
        await rig.arrays.stop();
      }
    }
  });
}
