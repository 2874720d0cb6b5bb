import { concat } from '@raidkit/concat';
import type { LevelOptions, RaidModule } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid10 } from '@raidkit/raid10';
import { raid5f } from '@raidkit/raid5f';
import { raid6 } from '@raidkit/raid6';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { SimMemory, drawPlan, shrink, simulate, sweep } from '@raidkit/testkit';
import type { Capabilities, PlanItem, SimPlan } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import regressions from './regressions.json' with { type: 'json' };
import { mirror } from './support/mirror.js';

const modules: Record<string, RaidModule> = { raid0, raid1, raid10, raid5f, raid6, concat };
/** Options that arrays have, by level. */
const levelOptions: Record<string, LevelOptions[]> = {
  raid10: [{}, { copies: 3 }, { layout: 'offset' }, { copies: 3, layout: 'offset' }],
};
/** Seeds of plans without, and with, rests in the middle, foreign runs and odd shapes. */
const seedsPerLevel: [string, number, number][] = [
  ['raid0', 150, 40],
  ['concat', 150, 40],
  ['raid1', 400, 60],
  ['raid10', 60, 20],
  ['raid5f', 250, 40],
  ['raid6', 30, 15],
];
const plain = { hasDevices: false, hasShortages: false, hasRests: false, hasForeign: false, hasShapes: false };

/** What raid5f may answer with an error after a double failure the model does not know block by block. */
function capabilitiesFor(level: string): Partial<Capabilities> {
  return { narrow: level !== 'raid5f' };
}

describe('no seed breaks a rule', () => {
  for (const [level, count, countOfAll] of seedsPerLevel) {
    it(`${level}, seeds 0 to ${count - 1}`, async () => {
      const { failures, coverage } = await sweep({
        module: modules[level]!,
        store,
        from: 0,
        count,
        capabilities: capabilitiesFor(level),
        plan: { ...plain, levelOptions: levelOptions[level] ?? [] },
      });
      expect(failures.map(({ seed, violation }) => `seed ${seed} level ${level}: ${violation ?? ''}`)).toEqual([]);
      expect(coverage.count('event arrayOnline')).toBeGreaterThan(count);
      // Fewer seeds do not come to all of them; they are drawn as for the other levels.
      for (const mark of count < 150 ? [] : marksOf(modules[level]!))
        expect(coverage.count(mark), `how often: ${mark}`).toBeGreaterThan(0);
    }, 300_000);

    it(`${level}, seeds 0 to ${countOfAll - 1} with rests, foreign runs and odd shapes`, async () => {
      const { failures, coverage } = await sweep({
        module: modules[level]!,
        store,
        from: 0,
        count: countOfAll,
        plan: { levelOptions: levelOptions[level] ?? [] },
      });
      expect(failures.map(({ seed, violation }) => `seed ${seed} level ${level}: ${violation ?? ''}`)).toEqual([]);
      for (const mark of ['rest / optimal', 'probe: restart', 'probe: stay away'])
        expect(coverage.count(mark), `how often: ${mark}`).toBeGreaterThan(0);
    }, 300_000);
  }

  it('nor does one that once did', async () => {
    const memory = new SimMemory({ bytes: 64 * 1024 * 1024 });
    for (const [level, seeds] of Object.entries(regressions)) {
      for (const seed of seeds) {
        const module = modules[level]!;
        // The seed is run with the plans of the time when it was found, and with the present ones.
        for (const [hasExtras, hasTrims, hasMore, hasFoundLies] of [
          [false, false, false, false],
          [true, false, false, false],
          [true, true, false, false],
          [true, true, true, false],
          [true, true, true, true],
        ] as const) {
          const options = {
            hasDevices: hasMore,
            hasShortages: hasMore,
            hasExtras,
            hasTrims,
            hasForeign: hasMore,
            hasRests: hasMore,
            hasShapes: hasMore,
            hasIntegrity: hasMore,
            hasStreams: hasMore,
            hasMetadataLies: hasMore,
            hasFoundLies,
            hasOutages: hasFoundLies,
          };
          const plan = drawPlan(seed, module, options);
          // It is like the one before.
          const isNew = ({ kind, ...item }: PlanItem): boolean => kind === 'outage' || (kind === 'lie' && 'crash' in item);
          if (hasFoundLies && !plan.items.some(isNew)) continue;
          const { violation } = await simulate({
            seed,
            module,
            store,
            memory,
            plan,
            capabilities: capabilitiesFor(level),
          });
          expect(violation, `seed ${seed} level ${level}`).toBeNull();
        }
      }
    }
  }, 300_000);
});

/** States that the generator must reach, or it tests nothing there. */
function marksOf(module: RaidModule): string[] {
  const always = [
    'restart power / optimal',
    'restart kill / optimal',
    'a disk is absent at assembly',
    'fault latent / optimal',
    'outage / optimal',
  ];
  if (module.redundancy === 'none') return always;
  const ofParity = ['writes are gathered / optimal'];
  return [
    ...always,
    ...(module.redundancy === 'parity' ? ofParity : []),
    'redundancy checked',
    'degraded start',
    'event memberFailed',
    'event memberRemoved',
    'fault writeErrors / degraded',
    'old image came back',
    'power while rebuild',
    'power while resync',
    'kill while resync',
    'restart power / degraded',
    'calm / degraded',
    'fault hung / optimal',
    'lie corrupt / optimal',
    'lie lost / optimal',
    'lie misdirected / optimal',
    'metadata lied about / optimal',
    'process check / optimal',
    'process repair / optimal',
    'checksums are on',
    'checksums are off',
    'all has been given checksums',
    'spare / optimal',
    'regions became unwritten / optimal',
  ];
}

describe('a simulation', () => {
  it('takes the same steps again for the same seed, in any memory', async () => {
    const memory = new SimMemory({ bytes: 64 * 1024 * 1024 });
    for (const seed of [3, 30, 300]) {
      const first = await simulate({ seed, module: raid1, store, memory });
      const again = await simulate({ seed, module: raid1, store });
      expect(again.traceHash).toBe(first.traceHash);
      expect(again.steps).toBe(first.steps);
      const other = await simulate({ seed: seed + 1, module: raid1, store, memory });
      expect(other.traceHash).not.toBe(first.traceHash);
    }
  });

  it('forgives a torn stripe of which a disk has lost the entry in the journal, and none whose entry was never written', async () => {
    // An array of five without one: what is left of parity says two things of that one's block after a power cut.
    const module = raid6;
    const plan: SimPlan = {
      seed: 77197,
      shape: {
        numSlots: 5,
        numDisks: 6,
        blockSize: 4096,
        stripSizeKb: 8,
        memberBlocks: [320, 320, 320, 320, 320, 370],
        hasWriteCache: true,
        hasForceUnitAccess: false,
        windowSizeKb: 64,
        isOverBudget: false,
        levelOptions: {},
        kind: 'slow background work',
        maxBandwidthMbSec: 0.2,
        latencies: Array.from({ length: 6 }, () => ({ leastMs: 0.02, meanMs: 0.05 })),
      },
      items: [
        {
          kind: 'metadataLie',
          at: 193.49668330745772,
          disk: 4,
          how: 'lost',
          where: 'journal',
          count: 1,
          onto: 'second superblock',
          place: 0.25280029815621674,
          isAtCrash: false,
        },
        { kind: 'remove', at: 444.6462587895803, disk: 1 },
        {
          kind: 'io',
          at: 589.4377795284289,
          client: 101,
          type: 1,
          flags: 0,
          zone: 0.19613573886454105,
          delta: 34,
          numBlocks: 23,
        },
        { kind: 'restart', at: 620.917309369208, how: 'power', mode: 1, downMs: 10, absent: -1 },
      ],
    };
    const { coverage, violation } = await simulate({ seed: plan.seed, module, store, plan });
    expect(violation).toBeNull();
    expect(coverage.count('a torn stripe without its journal entry')).toBe(1);
    const extension = store.extension!;
    const journal = { ...extension.journal, seal: () => undefined };
    const broken = await simulate({ seed: plan.seed, module, plan, store: { ...store, extension: { ...extension, journal } } });
    expect(broken.violation).toMatch(/^G8: read .* EIO/);
  });

  it('forgives what another program has rebuilt from stripes that a crash tore, however soon it did', async () => {
    // The array is so small that the other program has filled the absent member before it is found to be online.
    const module = raid6;
    const shape: SimPlan['shape'] = {
      numSlots: 4,
      numDisks: 4,
      blockSize: 512,
      stripSizeKb: 64,
      memberBlocks: [2176, 2176, 2176, 2176],
      latencies: Array.from({ length: 4 }, () => ({ leastMs: 0.02, meanMs: 0.05 })),
      hasWriteCache: true,
      hasForceUnitAccess: false,
      windowSizeKb: 16,
      isOverBudget: false,
      levelOptions: {},
    };
    const write = (at: number, zone: number, delta: number, numBlocks: number): PlanItem => ({
      kind: 'io',
      at,
      client: 0,
      type: 1,
      flags: 1,
      zone,
      delta,
      numBlocks,
    });
    const small = Array.from({ length: 12 }, (_, i) => write(60 + i * 0.3, 0.5, i * 8, 8));
    let rebuilt = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const items: PlanItem[] = [
        write(5, 0, 0, 128),
        write(6, 0.5, 0, 128),
        { kind: 'remove', at: 30, disk: 1 },
        ...small,
        { kind: 'foreign', at: 61 + seed * 0.15, before: 'power', how: 'stop', mode: 3, writes: 1 },
      ];
      const { coverage, violation } = await simulate({ seed, module, store, plan: { seed, shape, items } });
      expect(violation, `seed ${seed}`).toBeNull();
      rebuilt += coverage.count('a foreign run rebuilds a member');
    }
    expect(rebuilt).toBeGreaterThan(0);
  });

  it('that fails says so again, and is shrunk to fewer things that happen', async () => {
    const module = mirror('reads past suspicion');
    const { failures } = await sweep({ module, store, from: 1, count: 400, bail: true });
    const failing = failures[0]!;
    const again = await simulate({ seed: failing.seed, module, store });
    expect(again.violation).toBe(failing.violation);
    const small = await shrink({ seed: failing.seed, module, store }, failing, { most: 60 });
    expect(small.violation).not.toBeNull();
    expect(small.plan.items.length).toBeLessThan(failing.plan.items.length);
    expect(small.trace.length).toBeGreaterThan(0);
  });
});
