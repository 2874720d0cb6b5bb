import { openLinuxBdev } from '@raidkit/backend-linux';
import type { Bdev, BdevRegistry } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { ArrayRecord } from '@raidkit/core';
import { namedMember, spdkSuperblockStore } from '@raidkit/superblock';
import { peekSuperblock } from '../router/peek.js';

/** Result of probing a device for a superblock. */
export type Probed =
  | { readonly kind: 'none' }
  /** The device has a superblock and is the member with this uuid. */
  | {
      readonly kind: 'member';
      readonly array: string;
      readonly uuid: string;
      readonly memberUuid: string;
      readonly blockSize: number;
    }
  /** The device has a superblock of an array of which it is not, or not provably, a member any more. */
  | { readonly kind: 'no member'; readonly array: string; readonly uuid: string; readonly reason: string };

/**
 * Probes a device or file: opens it read-only and closes it again. Only one call may run at a time. Rejects with a `BdevError`
 * if it cannot be read.
 *
 * @param registry one that has no other user
 */
export async function probeDevice(path: string, registry: BdevRegistry): Promise<Probed> {
  // Most devices have no superblock, and need not be opened exclusively to see that. A superblock says in which blocks to read
  // it.
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
    // Devices with larger blocks have no room for raidkit's headers.
    const hasHeaders = spdkSuperblockStore.extension?.fits(bdev.blockSize, 0) === true;
    return judge(record, hasHeaders ? await namedMember(descriptor, record) : undefined, bdev.uuid);
  } finally {
    descriptor.close();
  }
}

/**
 * `named`: the member that the device is according to raidkit's headers; undefined if there are none, so that SPDK wrote the
 * superblock and the device's own uuid counts.
 */
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
      ? 'another device has its slot in the array'
      : 'its superblock does not record which member it is: open it with bdev_aio_create and the uuid that it had';
  return { kind: 'no member', array, uuid, reason };
}
