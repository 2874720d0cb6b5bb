import type { RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { clauses, findPlanted, plantedBugs } from '@raidkit/testkit';
import type { PlantedBug } from '@raidkit/testkit';
import { expect, it } from 'vitest';
import record from '../mutations/planted.json' with { type: 'json' };

/* Mistakes planted in our levels; scripts/planted.mjs plants all of them in all, and simulates as well. */

/** Levels of which the cases alone find each of these. */
const levels: readonly RaidModule[] = [raid1, raid10, raid5f, raid6];
/** Bugs that the cases do not find; they find all other pairs. */
const notByCases = [
  // These levels leave it to core to say that members differ.
  'raid1 no-mark-inconsistent',
  'raid10 no-mark-inconsistent',
  // To find this takes a crash, and then a loss of members, between two writes to one stripe. Simulations find it.
  'raid5f in-sync-without-ground',
  // To find this takes a write between two of the reads, on an array that lacks a member. Simulations find it.
  'raid5f reads-without-lock',
  'raid6 reads-without-lock',
];
const pairs = levels.flatMap((module) =>
  plantedBugs
    .filter((bug) => bug.applies(module) && !notByCases.includes(`${module.level} ${bug.id}`))
    .map((bug) => ({ bug, module })),
);

/** Which of them: consecutive numbers come to all. The same in each run of the tests, which must not fail for what was not changed. */
const turn = Number(process.env.RAIDKIT_PLANTED_TURN ?? 363);

function sample(count: number): { bug: PlantedBug; module: RaidModule }[] {
  const step = 37;
  return Array.from({ length: count }, (_, i) => pairs[((turn * count + i) * step) % pairs.length]!);
}

for (const { bug, module } of sample(3))
  it(`${module.level}, ${bug.id}: found by a case that names the clause`, async () => {
    const found = await findPlanted(bug, { module, store, seeds: 0 });
    expect(found).toMatchObject({ namesClause: true, clause: bug.clause });
  });

it('of each bug it is on record what finds it in each level', () => {
  const records: Record<string, Record<string, { foundBy: string | null; isIdle: boolean }>> = record;
  for (const module of [raid0, ...levels]) {
    const found = Object.entries(records[module.level]!).filter(([, { foundBy, isIdle }]) => foundBy !== null || isIdle);
    expect(found.map(([id]) => id)).toEqual(plantedBugs.filter((bug) => bug.applies(module)).map(({ id }) => id));
  }
});

it('each bug breaks a clause, and each clause that can be broken has a bug', () => {
  const broken = new Set(plantedBugs.map(({ clause }) => clause));
  expect(new Set(plantedBugs.map(({ id }) => id)).size).toBe(plantedBugs.length);
  // Which slots a level takes, and what methods it has, the cases for it see at once.
  expect(Object.keys(clauses).filter((clause) => !broken.has(clause as keyof typeof clauses))).toEqual(['L01', 'L03']);
});
