import type { ArrayRecord, RaidModule, SuperblockStore } from '@raidkit/core';
import { concat } from '@raidkit/concat';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { runAssembly } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { spoilers } from '../scripts/spoilers.mjs';

/** All small cases are tried, and every so many-th of the others. `npm run sim -- --assembly` tries all. */
const shapes: [RaidModule, number, number][] = [
  [raid0, 1, 1],
  [raid0, 2, 1],
  [raid0, 3, 5],
  [concat, 2, 1],
  [concat, 3, 5],
  [raid1, 2, 1],
  [raid1, 3, 29],
  [raid1, 4, 47],
  [raid10, 3, 97],
  [raid5f, 3, 29],
  [raid5f, 4, 47],
  [raid6, 4, 97],
];

describe('whatever disks are found, in any order, the array holds the right data or is refused', () => {
  for (const [module, numSlots, every] of shapes) {
    it(`${module.level} of ${numSlots}`, async () => {
      const { cases, failures, refused, rightData } = await runAssembly({
        module,
        store,
        numSlots,
        spoilers,
        every,
        hasOldImages: module.redundancy !== 'none',
      });
      expect(failures.slice(0, 10)).toEqual([]);
      expect(rightData).toBeGreaterThan(0);
      expect(refused + rightData).toBe(cases);
    });
  }
});

describe('and broken rules of assembly are noticed', () => {
  // Torn images are many, and with most of these rules they only keep the array from starting, until the case gives up.
  const isCaught = async (broken: SuperblockStore, message: RegExp): Promise<void> => {
    const options = { module: raid1, store: broken, numSlots: 2, spoilers, hasTornImages: false, every: 2 };
    const { failures } = await runAssembly(options);
    expect(failures.map((failure) => failure.message).join('\n')).toMatch(message);
  };
  const reads = (change: (record: ArrayRecord) => ArrayRecord): SuperblockStore => ({
    ...store,
    async read(descriptor) {
      const found = await store.read(descriptor);
      return found.kind === 'found' ? { kind: 'found', record: change(found.record) } : found;
    },
  });

  it('the oldest superblock wins', () =>
    isCaught(
      reads((record) => ({ ...record, seqNumber: Math.max(0, 2 ** 40 - record.seqNumber) })),
      /holds/,
    ));
  it('every member with a superblock is trusted', () =>
    isCaught(
      reads((record) => ({ ...record, slots: record.slots.map((slot) => ({ ...slot, state: 'configured' })) })),
      /holds|differs/,
    ));
  it('any superblock will do', () => {
    const known = new Map<string, string>();
    return isCaught(
      reads((record) => {
        known.set(record.name, known.get('assembled') ?? record.uuid);
        return { ...record, uuid: known.get('assembled') ?? record.uuid, name: 'assembled' };
      }),
      /holds|written to/,
    );
  });
});
