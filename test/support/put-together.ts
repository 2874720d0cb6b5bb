import type { AssemblyOptions } from '@raidkit/core';
import { plugIn } from './ram-disk.js';
import type { RamDisk } from './ram-disk.js';
import { memberUuid, newRig } from './rig.js';
import type { Rig } from './rig.js';

/** A new process that finds these disks, `m0`, `m1` …, one after another; null for one that is not there. */
export async function putTogether(
  images: readonly (Uint8Array | null)[],
  options: { order?: readonly number[]; assembly?: Partial<AssemblyOptions> } = {},
): Promise<{ rig: Rig; disks: (RamDisk | null)[] }> {
  const { order = images.map((_, index) => index), assembly } = options;
  const rig = newRig(assembly === undefined ? {} : { assembly });
  const disks: (RamDisk | null)[] = images.map(() => null);
  // Copied at one moment, as another process may still write to them.
  const copies = images.map((bytes) => bytes?.slice());
  for (const index of order) {
    const bytes = copies[index];
    if (bytes === undefined) continue;
    disks[index] = (await plugIn(rig.registry, { name: `m${index}`, uuid: memberUuid(index), bytes })).disk;
  }
  await rig.registry.waitForExamine();
  return { rig, disks };
}

/** Leaves what SPDK does: a superblock, and nothing of ours behind it. */
export function withoutExtension(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy.fill(0, 32 * 1024, 1 << 20);
  return copy;
}
