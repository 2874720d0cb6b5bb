import { openLinuxBdev } from '@raidkit/backend-linux';
import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { ArrayRecord } from '@raidkit/core';
import { namedMember, spdkSuperblockStore } from '@raidkit/superblock';
import { peekSuperblock } from '../router/peek.js';

/** What a device carries, as far as an array's superblock goes. */
export type Probed =
  | { readonly kind: 'none' }
  /** A superblock, and the uuid of the member that the device is. */
  | {
      readonly kind: 'member';
      readonly array: string;
      readonly uuid: string;
      readonly memberUuid: string;
      readonly blockSize: number;
    }
  /** A superblock of an array of which the device is no member any more, or does not prove to be one. */
  | { readonly kind: 'no member'; readonly array: string; readonly uuid: string; readonly reason: string };

/**
 * Looks at a device or file without writing to it: it is opened for reading alone, and closed again. One at a time. Rejects with
 * a `BdevError` if it cannot be read.
 *
 * @param registry one that has no other user
 */
export async function probeDevice(path: string, registry: BdevRegistry): Promise<Probed> {
  // Most devices carry nothing, and need not be opened for us alone to see that. A superblock says in which blocks to read it.
  const peeked = await peekSuperblock(path);
  if (peeked === null) return { kind: 'none' };
  const { blockSize } = peeked;
  const bdev = await openLinuxBdev(registry, { name: 'probe', path, blockSize, readOnly: true, pollMs: 0 });
  try {
    return await look(registry, bdev);
  } finally {
    await registry.unregister(bdev);
  }
}

async function look(registry: BdevRegistry, bdev: Bdev): Promise<Probed> {
  const descriptor = registry.open(bdev);
  try {
    const found = await spdkSuperblockStore.read(descriptor);
    if (found.kind !== 'found') return { kind: 'none' };
    const { record } = found;
    // Larger blocks have no room for our headers.
    const hasHeaders = spdkSuperblockStore.extension?.fits(bdev.blockSize, 0) === true;
    return judge(record, hasHeaders ? await namedMember(descriptor, record) : undefined, bdev.uuid);
  } finally {
    descriptor.close();
  }
}

/** `named`: who the device is by our headers; undefined without any: SPDK wrote the superblock, and the device's own uuid counts. */
function judge(
  { name: array, uuid, slots, blockSize }: ArrayRecord,
  named: string | null | undefined,
  ownUuid: string,
): Probed {
  const isOwn = ownUuid !== nullUuid && slots.some((slot) => slot.uuid === ownUuid);
  const memberUuid = named === undefined && isOwn ? ownUuid : named;
  if (memberUuid !== undefined && memberUuid !== null) return { kind: 'member', array, uuid, memberUuid, blockSize };
  const reason =
    named === null
      ? 'its place in the array has been taken by another device'
      : 'its superblock does not say which member it is: open it with bdev_aio_create and the uuid that it had';
  return { kind: 'no member', array, uuid, reason };
}
