import type { ParityModule, RaidModule } from '@raidkit/core';
import { CutMode } from '../disk-faults.js';
import type { Scenario } from './scenario.js';
import type { Script } from './script.js';

/**
 * Scenarios that prolong short-lived states: redundancy in doubt after a crash, a region that is marked clean while a request
 * uses it, a journal ring that wraps around, a departure that is being recorded.
 */

const redundant = ({ redundancy }: RaidModule): boolean => redundancy !== 'none';
const journaled = (module: RaidModule): module is ParityModule => module.redundancy === 'parity' && module.journal;
const resizable = (module: RaidModule): boolean => redundant(module) && module.manifest.resize;
const mirror = ({ redundancy }: RaidModule): boolean => redundancy === 'copies';

/** Milliseconds after a write at which its region is marked clean again: at the second check. */
const idleMs = 10_000;

/** Crashes in the middle of writes, so that copies, or parity and data, differ. The following resync takes some seconds. */
async function crashed(script: Script): Promise<void> {
  await script.create();
  await script.fill();
  await script.flush();
  await script.crash(CutMode.Random, () =>
    Promise.all([script.write(0.01, 40), script.write(0.0101, 40), script.write(0.2, 30)]),
  );
}

/** Sends overlapping requests where redundancy is in doubt, and then uses the same blocks again. */
async function useDoubtful(script: Script): Promise<void> {
  await script.together(
    () => script.write(0.01, 16),
    () => script.read(0.01, 16),
    () => script.read(0.0101, 24),
    () => script.write(0.0101, 8),
    () => script.read(0.0101, 8),
  );
  await script.read(0.01, 60);
  await script.read(0.2, 30);
}

async function degradedForLong(script: Script): Promise<void> {
  await script.create();
  await script.fill();
  await script.flush();
  await script.remove(1);
  await script.write(0.012, 40);
}

export const moments: readonly Scenario[] = [
  {
    id: 'redundancy is in doubt',
    applies: redundant,
    before: crashed,
    shape: { windowSizeKb: 16, maxBandwidthMbSec: 0.2 },
    // Copies differ anyway, so it cannot be told which disk lost a write.
    without: ['lost'],
    steps: useDoubtful,
  },
  {
    id: 'copies differ, and the first of them is pulled out',
    applies: mirror,
    numSlots: () => 3,
    before: crashed,
    shape: { windowSizeKb: 16, maxBandwidthMbSec: 0.2 },
    without: ['lost'],
    async steps(s) {
      await s.read(0.01, 30);
      await s.pull(0);
      await s.read(0.01, 30);
      await s.write(0.0101, 9);
      await s.read(0.0101, 20);
      await s.plug(0);
      await s.rebuilt(0);
    },
  },
  {
    id: 'a resync is cut short',
    applies: redundant,
    before: crashed,
    shape: { windowSizeKb: 16, maxBandwidthMbSec: 2 },
    without: ['lost'],
    async steps(s) {
      await s.read(0.01, 60);
      await s.wait(300);
      await s.write(0.3, 5);
      await s.idle();
      await s.read(0.01, 60);
    },
  },
  {
    // With five members parity is updated from the old parity, which three members never need.
    id: 'overlapping writes at once, of five members',
    applies: redundant,
    numSlots: () => 5,
    async steps(s) {
      await s.together(
        () => s.write(0.01, 20),
        () => s.write(0.0101, 20),
        () => s.write(0.0102, 3),
        () => s.write(0.01, 7),
        () => s.read(0.01, 40),
      );
      await s.write(0.01, 5);
    },
  },
  {
    id: 'degraded writes, of five members',
    applies: redundant,
    numSlots: () => 5,
    before: degradedForLong,
    steps: (s) =>
      s.together(
        () => s.fill(),
        () => s.write(0.0101, 9),
        () => s.read(0.01, 60),
      ),
  },
  {
    id: 'a slow write, while its region is made clean',
    applies: redundant,
    async steps(s) {
      await s.cool();
      await s.write(0.01, 9);
      await s.wait(idleMs - 500);
      s.slow(0, 20_000);
      await s.together(
        () => s.write(0.0101, 9),
        async () => {
          for (let i = 0; i < 6; i++) {
            await s.wait(250);
            await s.read(0.9, 3);
          }
        },
      );
      s.slow(0, 1);
      await s.write(0.01, 5);
    },
  },
  {
    id: 'a region is made clean while the array grows',
    applies: resizable,
    grows: true,
    async steps(s) {
      await s.cool();
      await s.write(0.01, 9);
      await s.wait(idleMs - 200);
      s.slow(1, 20_000);
      await s.wait(400);
      s.slow(1, 1);
      await s.grow(512);
      await s.write(0.01, 9);
    },
  },
  {
    id: 'a region is made clean while a member leaves',
    applies: redundant,
    async steps(s) {
      await s.cool();
      await s.write(0.01, 9);
      await s.wait(idleMs - 200);
      s.slow(1, 10_000);
      await s.wait(300);
      await s.pull(1);
      s.slow(1, 1);
      await s.write(0.0101, 9);
      await s.plug(1);
      await s.rebuilt(1);
    },
  },
  {
    id: 'writes after a clearing that may have failed',
    applies: redundant,
    async steps(s) {
      await s.cool();
      await s.together(
        () => s.write(0.01, 9),
        () => s.write(0.0101, 9),
      );
      await s.cool();
      await s.write(0.01, 5);
    },
  },
  {
    // The write of a bitmap page to a member that the array needs may have failed: then the page is clean on disk and dirty in
    // memory.
    id: 'degraded writes after a clearing that may have failed',
    applies: journaled,
    before: degradedForLong,
    async steps(s) {
      await s.cool();
      await s.together(
        () => s.write(0.01, 9),
        () => s.write(0.0101, 30),
        () => s.write(0.0102, 5),
      );
      await s.write(0.012, 20);
    },
  },
  {
    id: 'many degraded writes to one place',
    applies: journaled,
    before: degradedForLong,
    async steps(s) {
      for (let i = 0; i < 44; i++) await s.write(i % 3 === 0 ? 0.0101 : 0.01, 6);
    },
  },
  {
    // Covers whole stripes, so that the journal contains older contents of the absent member's blocks too.
    id: 'degraded writes over one another',
    applies: journaled,
    before: degradedForLong,
    async steps(s) {
      for (let i = 0; i < 4; i++) {
        await s.write(0.01, 150);
        if (i % 2 === 1) await s.flush();
      }
    },
  },
  {
    id: 'many degraded writes while a member is rebuilt',
    applies: journaled,
    before: degradedForLong,
    shape: { windowSizeKb: 64, maxBandwidthMbSec: 4 },
    async steps(s) {
      await s.add(1);
      for (let i = 0; i < 12; i++) await s.write(i % 2 === 0 ? 0.9 : 0.01, 6);
      await s.zero(0.02, 128);
      await s.rebuilt(1);
    },
  },
  {
    id: 'degraded write zeroes',
    applies: (module) => journaled(module) && module.manifest.nullPayload,
    before: degradedForLong,
    steps: (s) => s.zero(0.005, 300),
  },
  {
    id: 'two of three members leave under load',
    applies: mirror,
    numSlots: () => 3,
    together: [0, 1],
    without: ['lost'],
    async steps(s) {
      await s.together(
        () => s.fill(),
        () => s.pull(0),
        () => s.pull(1),
      );
      await s.write(0.0101, 8);
      await s.plug(0);
      await s.plug(1);
      await s.idle();
    },
  },
  {
    id: 'the last copy is stopped and started',
    applies: mirror,
    before: degradedForLong,
    without: ['lost'],
    async steps(s) {
      await s.restart();
      await s.read(0.5, 100);
      await s.write(0.5, 8);
      await s.read(0.5, 100);
    },
  },
  {
    id: 'flushes of what a device may have dropped',
    applies: () => true,
    async steps(s) {
      await s.write(0.01, 9);
      await s.together(
        () => s.flush(),
        () => s.write(0.5, 9),
        () => s.flush(),
      );
      await s.fua(0.5, 9);
      await s.flush();
      await s.write(0.01, 9);
      await s.fua(0.9, 9);
      await s.flush();
    },
  },
  {
    id: 'a first write while a member is replaced',
    applies: redundant,
    before: (s) => s.create(),
    startsEmpty: true,
    without: ['lost'],
    async steps(s) {
      await s.write(0.99, 9);
      await s.replace(0, s.run.disks.length - 1);
      await s.together(
        () => s.write(0.3, 9),
        () => s.write(0.7, 30),
        () => s.rebuilt(s.run.disks.length - 1),
      );
      await s.write(0.01, 9);
    },
  },
  {
    id: 'writes across the place where a rebuild is',
    applies: redundant,
    before: degradedForLong,
    shape: { windowSizeKb: 16, maxBandwidthMbSec: 4 },
    async steps(s) {
      await s.add(1);
      for (let i = 1; i < 16; i++)
        await s.together(
          () => s.write(i / 16, 40),
          () => s.write(i / 16 + 0.005, 8),
          () => s.read(i / 16, 20),
        );
      await s.rebuilt(1);
    },
  },
];
