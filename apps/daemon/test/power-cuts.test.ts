import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { arrayOnCachedDisks } from './support/array-on-cached-disks.js';
import { hasFaultyDevices } from './support/devices.js';
import { dice } from './support/dice.js';
import { interruptions } from './support/interruptions.js';
import { hasCommands } from './support/process.js';

/**
 * Disks with volatile caches lose their power, all in one moment and together with the daemon: of what was not flushed, each
 * sector by itself is kept or lost. What was flushed, or sent with FUA, must be there; what was not is old or new.
 */
const cycles = Number(process.env.RAIDKIT_TORTURE_CYCLES ?? 2);
const timeoutMs = 60_000 + cycles * 20_000;

const test = arrayOnCachedDisks();
const { makeDisks, powerOn, losePower } = test;

/** Starts background work, which runs when the power fails. */
async function disturb(roll: (most: number) => number, members: number): Promise<void> {
  const what = roll(4);
  if (what === 0) await test.array.call('raidkit_start_process', { name: 'vol', type: 'check' });
  if (what > 2) return;
  const slot = roll(members);
  await test.array.call('bdev_raid_remove_base_bdev', { name: `m${slot}` });
  await sleep(roll(100));
  if (what === 1) await test.array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${slot}` });
}

const shapes = [
  { level: 'raid0', members: 2, stripSizeKb: 16, isRedundant: false },
  { level: 'raid1', members: 2, stripSizeKb: 0, isRedundant: true },
  { level: 'raid5f', members: 3, stripSizeKb: 16, isRedundant: true },
];

describe.skipIf(!hasFaultyDevices() || !hasCommands('nbdsh'))('when the power fails, nothing that was flushed is lost', () => {
  it.each(shapes)(
    `$level, ${cycles} times under load`,
    async (shape) => {
      const { level, members, isRedundant } = shape;
      makeDisks(members, 8 << 20);
      await powerOn(0);
      await test.array.create(shape, members);
      for (let cycle = 1; cycle <= cycles; cycle++) {
        const roll = dice(cycle + level.length * 1000);
        await test.array.load();
        if (isRedundant) await disturb(roll, members);
        await sleep(roll(250));
        await losePower();
        await powerOn(cycle);
        await test.array.assemble();
        await test.array.verify();
        if (isRedundant) await test.array.bringBack(members);
        await test.array.verify();
        if (isRedundant) await test.array.agrees();
      }
      await test.array.stop();
    },
    timeoutMs,
  );

  it.each(interruptions)(
    `in the middle of: $name`,
    async ({ name, before, call, after }) => {
      for (let cycle = 0; cycle < cycles; cycle++) {
        makeDisks(3, 4 << 20);
        await powerOn(cycle);
        await before(test.array);
        const called = call(test.array).catch(() => undefined);
        await sleep(dice(cycle + name.length * 1000)(40));
        await losePower();
        await called;
        await powerOn(cycle);
        await after(test.array);
        await test.array.stop();
        for (const disk of test.disks) await disk.stop();
        rmSync(test.array.log, { force: true });
      }
    },
    timeoutMs,
  );

  it(
    'and disks that only say that they have flushed are found out',
    async () => {
      makeDisks(2, 8 << 20, true);
      await powerOn(0);
      await test.array.create({ level: 'raid1', stripSizeKb: 0 }, 2);
      let complaints = 0;
      for (let cycle = 1; cycle <= 5 && complaints === 0; cycle++) {
        await test.array.load();
        await sleep(200);
        await losePower();
        await powerOn(cycle);
        const outcome = await test.array
          .assemble()
          .then(() => test.array.verify())
          .catch((error: unknown) => error);
        if (outcome !== undefined) complaints++;
      }
      expect(complaints).toBe(1);
    },
    timeoutMs,
  );
});
