import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ArrayState } from './support/array-process.js';
import { arrayOnCachedDisks } from './support/array-on-cached-disks.js';
import { hasFaultyDevices, until } from './support/devices.js';
import { dice } from './support/dice.js';
import { hasCommands, runOk } from './support/process.js';

/**
 * Disks that turn bits over, lose writes and put them elsewhere, without an error, below arrays with checksums. Nothing wrong may
 * be read, nothing may be lost where redundancy is left, and the counters must name the disk. One disk lies at a time, and not in
 * the moment of a crash: docs/decisions/checksums.md says what checksums cannot know.
 */
const cycles = Number(process.env.RAIDKIT_TORTURE_CYCLES ?? 1);
const isLong = cycles > 10;
const timeoutMs = 60_000 + cycles * 40_000;

const diskBytes = 16 << 20;
const test = arrayOnCachedDisks();
const { makeDisks, powerOn, startDaemon, losePower } = test;

async function state(): Promise<ArrayState> {
  const found = await test.array.state();
  if (found === undefined) throw new Error('there is no array');
  return found;
}

const checksumErrors = async (): Promise<number[]> => (await state()).ext.members.map(({ checksum_errors: errors }) => errors);

/** Bytes of a member's data area, as two numbers for its disk. */
async function dataArea(slot: number): Promise<string> {
  const { data_offset: offset, data_size: size } = (await state()).base_bdevs_list[slot]!;
  return `${offset * 512} ${(offset + size) * 512}`;
}

/** The checksums of the written data are on the disks, and are valid after a crash. */
const regionsAreClean = (): Promise<void> =>
  until('all regions are clean', async () => (await state()).ext.regions?.dirty === 0);

/** This user knows what must be read: fio, which writes and reads back, or reads what it has written with the same seed. */
async function fio(seed: number, ...what: string[]): Promise<void> {
  const job = ['--name=v', '--ioengine=nbd', `--uri=${test.array.uri}`, '--rw=randwrite', '--bssplit=4k/60:16k/20:512/20'];
  const checks = ['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0'];
  await runOk('fio', [...job, ...checks, '--size=6m', '--iodepth=8', `--randseed=${seed}`, ...what]);
}

const shapes = [
  { level: 'raid1', members: 2, stripSizeKb: 0 },
  { level: 'raid5f', members: 3, stripSizeKb: 16 },
  { level: 'raid6', members: 4, stripSizeKb: 16 },
];

describe.skipIf(!hasFaultyDevices() || !hasCommands('nbdsh', 'fio'))('of disks that lie', () => {
  it.each(isLong ? shapes : shapes.slice(1, 2))(
    `nothing wrong is read: $level, ${cycles} times`,
    async ({ members, ...shape }) => {
      makeDisks(members, diskBytes);
      await powerOn(0);
      await test.array.create({ ...shape, integrity: true }, members);
      for (let cycle = 1; cycle <= cycles; cycle++) {
        const roll = dice(cycle + members * 1000);
        const liar = (cycle + members) % members;
        const disk = test.disks[liar]!;
        const area = await dataArea(liar);
        const before = await checksumErrors();

        await disk.tell(`lose 0.1 ${area}`);
        await disk.tell(`misdirect 0.05 ${area}`);
        await test.array.load();
        await sleep(roll(400));
        await disk.tell(`flip 300 ${area}`);
        await sleep(roll(400));
        await test.array.unload();
        await disk.tell('honest');
        await disk.tell(`flip 300 ${area}`);
        await test.array.verify();
        // A disk on which what is rewritten stays wrong is failed.
        await test.array.bringBack(members);
        await test.array.agrees();
        for (const [slot, count] of (await checksumErrors()).entries()) {
          if (slot === liar) expect(count).toBeGreaterThan(before[slot]!);
          else expect(count).toBe(before[slot]!);
        }

        // Repaired blocks stay repaired, however the daemon ends.
        await regionsAreClean();
        await test.array.load();
        await sleep(roll(250));
        if (cycle % 2 === 0) {
          await test.array.kill();
          await startDaemon();
        } else {
          await losePower();
          await powerOn(cycle);
        }
        await test.array.assemble();
        await test.array.verify();
        await test.array.bringBack(members);
        await test.array.agrees();
      }
      await test.array.stop();
    },
    timeoutMs,
  );

  it(
    `fio finds what it has written, and a rebuild takes nothing wrong, ${cycles} times`,
    async () => {
      makeDisks(4, diskBytes);
      await powerOn(0);
      await test.array.create({ level: 'raid6', stripSizeKb: 16, integrity: true }, 4);
      for (let cycle = 1; cycle <= cycles; cycle++) {
        const [out, liar] = [cycle % 4, (cycle + 1) % 4];
        const area = await dataArea(liar);
        await test.disks[liar]!.tell(`lose 0.05 ${area}`);
        await fio(cycle, '--do_verify=1');
        await test.disks[liar]!.tell('honest');
        await test.array.bringBack(4);
        await test.array.call('bdev_raid_remove_base_bdev', { name: `m${out}` });
        await test.disks[liar]!.tell(`flip 100 ${area}`);
        const before = await checksumErrors();
        await test.array.bringBack(4);
        await fio(cycle, '--verify_only=1');
        await test.array.agrees();
        expect((await checksumErrors())[liar]).toBeGreaterThan(before[liar]!);
      }
      await test.array.stop();
    },
    timeoutMs,
  );
});
