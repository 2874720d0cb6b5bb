import { rmSync } from 'node:fs';
import { range } from './array-process.js';
import type { ArrayProcess } from './array-process.js';

/** Members of the mirror that is used here. */
export const members = 2;

/** A call that changes superblocks, which may be cut short at any point. */
export interface Interruption {
  name: string;
  /** Brings the array to where the call is made. */
  before: (array: ArrayProcess) => Promise<void>;
  call: (array: ArrayProcess) => Promise<unknown>;
  /** In a new daemon, with all members open. */
  after: (array: ArrayProcess) => Promise<void>;
}

export async function createWithData(array: ArrayProcess): Promise<void> {
  await array.create({ level: 'raid1', stripSizeKb: 0 }, members);
  await array.load();
  await array.unload();
}

/** There is an array that comes up with its data, or there is none, or what is left of it can be deleted: a new one can be made. */
async function isThereOrNot(array: ArrayProcess): Promise<void> {
  const state = await array.state();
  if (state !== undefined) {
    await array.assemble();
    await array.verify();
    await array.call('bdev_raid_delete', { name: 'vol', clear_sb: true });
  }
  rmSync(array.log, { force: true });
  await array.create({ level: 'raid1', stripSizeKb: 0 }, members);
  await array.verify();
}

/** The array comes up with its data, and can be made whole. */
async function isThere(array: ArrayProcess): Promise<void> {
  await array.assemble();
  await array.verify();
  await array.settle();
  for (const slot of range(members)) {
    const there = (await array.state())?.base_bdevs_list.some(
      ({ name, is_configured }) => is_configured && name === `m${slot}`,
    );
    if (there !== true)
      await array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${slot}` }).catch(() => undefined);
    await array.settle();
  }
  await array.whole(members);
  await array.verify();
  await array.agrees();
}

export const interruptions: Interruption[] = [
  {
    name: 'create',
    before: () => Promise.resolve(),
    call: (array) => array.create({ level: 'raid1', stripSizeKb: 0 }, members),
    after: isThereOrNot,
  },
  { name: 'delete', before: createWithData, call: (array) => array.call('bdev_raid_delete', { name: 'vol' }), after: isThere },
  {
    name: 'delete with clear_sb',
    before: createWithData,
    call: (array) => array.call('bdev_raid_delete', { name: 'vol', clear_sb: true }),
    after: isThereOrNot,
  },
  {
    name: 'remove',
    before: createWithData,
    call: (array) => array.call('bdev_raid_remove_base_bdev', { name: 'm1' }),
    after: isThere,
  },
  {
    name: 'add, and its rebuild',
    async before(array) {
      await createWithData(array);
      await array.call('bdev_raid_remove_base_bdev', { name: 'm1' });
      await array.load();
      await array.unload();
    },
    async call(array) {
      await array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: 'm1' });
      await array.whole(members);
    },
    after: isThere,
  },
];
