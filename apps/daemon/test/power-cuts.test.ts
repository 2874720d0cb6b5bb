import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArrayProcess, range } from './support/array-process.js';
import { CachedDisk } from './support/cached-disk.js';
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

let folder: string;
let disks: CachedDisk[] = [];
let array: ArrayProcess;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
});
afterEach(async () => {
  await array.end();
  for (const disk of disks) await disk.stop();
  disks = [];
  rmSync(folder, { recursive: true, force: true });
});

async function powerOn(seed: number): Promise<void> {
  for (const [index, disk] of disks.entries()) await disk.start(seed * 16 + index);
  array.paths.splice(0, disks.length, ...disks.map(({ path }) => path));
  await array.start();
  await array.open(range(disks.length));
}

async function losePower(): Promise<void> {
  await array.losePower(() => Promise.all(disks.map((disk) => disk.cut())));
  for (const disk of disks) await disk.stop();
}

/** Disks, and an array's process to be, which uses them. */
function makeDisks(count: number, bytes: number, lies = false): void {
  disks = range(count).map((index) => new CachedDisk(join(folder, `disk${index}`), bytes, lies));
  array = new ArrayProcess(
    folder,
    range(count).map(() => ''),
  );
}

/** Something goes on in the background when the power fails. */
async function disturb(roll: (most: number) => number, members: number): Promise<void> {
  const what = roll(4);
  if (what === 0) await array.call('raidkit_start_process', { name: 'vol', type: 'check' });
  if (what > 2) return;
  const slot = roll(members);
  await array.call('bdev_raid_remove_base_bdev', { name: `m${slot}` });
  await sleep(roll(100));
  if (what === 1) await array.call('bdev_raid_add_base_bdev', { raid_bdev: 'vol', base_bdev: `m${slot}` });
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
      await array.create(shape, members);
      for (let cycle = 1; cycle <= cycles; cycle++) {
        const roll = dice(cycle + level.length * 1000);
        await array.load();
        if (isRedundant) await disturb(roll, members);
        await sleep(roll(250));
        await losePower();
        await powerOn(cycle);
        await array.assemble();
        await array.verify();
        if (isRedundant) await array.bringBack(members);
        await array.verify();
        if (isRedundant) await array.agrees();
      }
      await array.stop();
    },
    timeoutMs,
  );

  it.each(interruptions)(
    `in the middle of: $name`,
    async ({ name, before, call, after }) => {
      for (let cycle = 0; cycle < cycles; cycle++) {
        makeDisks(3, 4 << 20);
        await powerOn(cycle);
        await before(array);
        const called = call(array).catch(() => undefined);
        await sleep(dice(cycle + name.length * 1000)(40));
        await losePower();
        await called;
        await powerOn(cycle);
        await after(array);
        await array.stop();
        for (const disk of disks) await disk.stop();
        rmSync(array.log, { force: true });
      }
    },
    timeoutMs,
  );

  it(
    'and disks that only say that they have flushed are found out',
    async () => {
      makeDisks(2, 8 << 20, true);
      await powerOn(0);
      await array.create({ level: 'raid1', stripSizeKb: 0 }, 2);
      let complaints = 0;
      for (let cycle = 1; cycle <= 5 && complaints === 0; cycle++) {
        await array.load();
        await sleep(200);
        await losePower();
        await powerOn(cycle);
        const outcome = await array
          .assemble()
          .then(() => array.verify())
          .catch((error: unknown) => error);
        if (outcome !== undefined) complaints++;
      }
      expect(complaints).toBe(1);
    },
    timeoutMs,
  );
});
