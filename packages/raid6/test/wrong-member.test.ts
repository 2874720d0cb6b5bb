import { describe, expect, it } from 'vitest';
import { arrayOf } from '../../../test/support/rig.js';
import type { Rig } from '../../../test/support/rig.js';
import {
  MiB,
  dataBytes,
  expectContents,
  expectOnMembers,
  fullPicture,
  made,
  scribble,
  settled,
  strip,
} from './support/array.js';

const members = 5;

interface Bench extends Awaited<ReturnType<typeof made>> {
  data: Uint8Array;
}

async function filled(): Promise<Bench> {
  const bench = await made(members);
  const data = new Uint8Array((members - 2) * dataBytes);
  await fullPicture(bench.rig, data);
  await scribble(bench.rig, data, 5);
  return { ...bench, data };
}

/** Without an error the slot's disk has something else in this block of the stripe's strip. */
function corrupt({ disks }: Bench, slot: number, stripe: number, column: number, seed = 0): void {
  const at = MiB + (stripe * strip + column) * 512;
  // Each slot gets bytes of its own, so that two wrong chunks differ in different ways.
  for (let i = 0; i < 512; i += 7) disks[slot]!.bytes[at + i]! ^= 1 + ((i * 31 + slot * 57 + seed) % 255);
}

/** Returns what the check has found. */
async function run(rig: Rig, type: 'check' | 'repair'): Promise<{ found: string[]; record: unknown }> {
  rig.arrays.startSync('a', type);
  await settled(rig);
  const [record] = arrayOf(rig, 'a').history;
  const places = record?.mismatches.map(
    ({ offsetBlocks, slot }) => `slot ${slot}, stripe ${offsetBlocks / (strip * (members - 2))}`,
  );
  return { found: [...new Set(places)], record };
}

describe('whichever member is wrong, a check names it, and a repair makes it what it was', () => {
  it.each([0, 1, 2, 3, 4])('in stripe %i', async (stripe) => {
    const bench = await filled();
    const { data, disks, rig } = bench;
    for (let slot = 0; slot < members; slot++) {
      corrupt(bench, slot, stripe, 3);
      const check = await run(rig, 'check');
      expect(check).toMatchObject({ found: [`slot ${slot}, stripe ${stripe}`], record: { mismatchBlocks: 1, error: null } });
      const repair = await run(rig, 'repair');
      expect(repair).toMatchObject({ found: check.found, record: { mismatchBlocks: 1, undecidedBlocks: 0, error: null } });
      await expectContents(rig, data);
      expectOnMembers(disks, data);
    }
    await rig.arrays.stop();
  });
});

it('what a repair has rewritten is on stable media when it says so', async () => {
  const bench = await filled();
  const { disks, rig } = bench;
  corrupt(bench, 2, 1, 3);
  for (const disk of disks) disk.log.length = 0;
  await run(rig, 'repair');
  const written = disks[2]!.log.indexOf(`write ${MiB / 512 + strip + 3}+1`);
  expect(written).toBeGreaterThanOrEqual(0);
  expect(disks[2]!.log.indexOf('flush', written)).toBeGreaterThan(written);
  await rig.arrays.stop();
});

it('each block is looked at by itself: of every member some are wrong', async () => {
  const bench = await filled();
  const { data, disks, rig } = bench;
  for (let column = 0; column < strip; column++) corrupt(bench, column % members, 2, column);
  for (let column = 1; column < strip; column++) corrupt(bench, 4, 7, column);
  expect(await run(rig, 'check')).toMatchObject({ record: { mismatchBlocks: 2 * strip - 1 } });
  expect(await run(rig, 'repair')).toMatchObject({ record: { mismatchBlocks: 2 * strip - 1, error: null } });
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  expect(await run(rig, 'check')).toMatchObject({ found: [], record: { mismatchBlocks: 0 } });
  await rig.arrays.stop();
});

it('of two wrong members neither is taken for another one: parity is made to agree with what is there', async () => {
  const bench = await filled();
  const { data, disks, rig } = bench;
  // Of stripe 1 data is on slots 0 to 2, P on slot 3, and Q on slot 4.
  corrupt(bench, 0, 1, 3, 11);
  corrupt(bench, 2, 1, 3, 97);
  const before = disks.map(({ bytes }) => bytes.slice(MiB));
  expect(await run(rig, 'check')).toMatchObject({ found: ['slot 3, stripe 1', 'slot 4, stripe 1'] });
  await run(rig, 'repair');
  for (const slot of [0, 1, 2]) expect(Buffer.compare(disks[slot]!.bytes.subarray(MiB), before[slot]!)).toBe(0);
  const now = data.slice();
  for (const slot of [0, 2]) {
    const at = (strip + 3) * 512;
    now.set(before[slot]!.subarray(at, at + 512), (strip * (members - 2) + slot * strip + 3) * 512);
  }
  expectOnMembers(disks, now);
  await rig.arrays.stop();
});

it('without a member nothing is located: what is left is left as it is', async () => {
  const bench = await filled();
  const { disks, rig } = bench;
  await rig.arrays.removeBaseBdev('m1');
  corrupt(bench, 0, 1, 3);
  const before = disks.map(({ bytes }) => bytes.slice(MiB));
  const { record } = await run(rig, 'repair');
  expect(record).toMatchObject({ repairedBlocks: 0, undecidedBlocks: 2 });
  for (const [slot, { bytes }] of disks.entries()) expect(Buffer.compare(bytes.subarray(MiB), before[slot]!)).toBe(0);
  await rig.arrays.stop();
});

it('where redundancy is in doubt a repair takes parity for wrong, and not what was written last', async () => {
  const bench = await filled();
  const { data, disks, rig } = bench;
  // The process covers one stripe at a time.
  rig.arrays.setProcessOptions({ windowSizeKb: 12 });
  rig.arrays.startSync('a', 'repair');
  while (arrayOf(rig, 'a').process === null) await Promise.resolve();
  rig.arrays.pauseProcess('a');
  // Meanwhile a write fails half way in stripe 21, with its data on slots 0 to 2: both parities disagree with slot 0, which has what users may have read since.
  corrupt(bench, 0, 21, 3);
  const at = (21 * strip + 3) * 512;
  data.set(disks[0]!.bytes.subarray(MiB + at, MiB + at + 512), (21 * strip * (members - 2) + 3) * 512);
  arrayOf(rig, 'a').consistency.markInconsistent(21 * strip, strip);
  rig.arrays.resumeProcess('a');
  await settled(rig);
  expect(arrayOf(rig, 'a').history.find(({ type }) => type === 'repair')).toMatchObject({ error: null });
  await expectContents(rig, data);
  expectOnMembers(disks, data);
  await rig.arrays.stop();
});
