import type { ArrayRecord, JournaledModule, PlainModule, RaidModule, SuperblockStore } from '@raidkit/core';
import { RegionState } from '@raidkit/core';
import { raid0 } from '@raidkit/raid0';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { conformanceCases, runConformance, sweep } from '@raidkit/testkit';
import { describe, expect, it } from 'vitest';
import { mirror } from './support/mirror.js';
import type { MirrorBug } from './support/mirror.js';

/** The case must say that this module is broken. */
async function isCaughtBy(id: string, module: RaidModule): Promise<void> {
  const found = conformanceCases(module).find((one) => one.id === id);
  expect(found, `there is a case ${id}`).toBeDefined();
  await expect(found!.run({ module, store })).rejects.toThrow();
}

/** The simulator must find something within so many seeds. */
async function isFoundWithin(seeds: number, module: RaidModule, broken: SuperblockStore): Promise<void> {
  // The budgets apply to runs without corruption of records.
  const plan = { hasMetadataLies: false };
  const { failures } = await sweep({ module, store: broken, from: 1, count: seeds, bail: true, plan });
  expect(failures.length, 'something was found').toBe(1);
  expect(failures[0]!.violation).toMatch(/^G\d|^array|^bdev/);
}

describe('broken levels are caught by the case that is made for it', () => {
  it('a stranger’s mirror without a bug passes', async () => {
    const results = await runConformance({ module: mirror('none'), store });
    expect(results.filter(({ error }) => error !== null)).toEqual([]);
    expect(results.length).toBeGreaterThan(20);
  });

  const caughtBy: [MirrorBug, string][] = [
    ['skips a member', 'RW-02'],
    ['takes a failed read for data', 'DEG-02'],
    ['gives up at the first read error', 'DEG-02'],
    ['writes without locks', 'RW-03'],
    ['forgets the target of a rebuild', 'PROC-02'],
    ['unmaps one copy only', 'NULL-01'],
    ['says that it has unmapped', 'NULL-02'],
    ['rebuilds from the wrong place', 'PROC-01'],
    ['never repairs', 'DEG-03'],
    ['shifts data when it grows', 'SIZE-01'],
    ['loses an answer', 'NULL-01'],
  ];
  for (const [bug, id] of caughtBy) it(`a mirror that ${bug}: ${id}`, () => isCaughtBy(id, mirror(bug)));

  it('parity that is wrong in one byte: RW-01', () => isCaughtBy('RW-01', withWrongParity(raid5f)));
  it('a raid0 that says it is one block larger: RW-04', () => isCaughtBy('RW-04', oneBlockLarger(raid0)));
});

describe('broken rules are found by the simulator', () => {
  it('a mirror that reads any copy before a resync', () => isFoundWithin(400, mirror('reads past suspicion'), store));
  it('superblocks of which every other write is lost', () => isFoundWithin(60, raid1, losesWrites()));
  it('superblocks that all say the same age', () => isFoundWithin(200, raid1, ageless()));
  it('a write-intent map that never says dirty', () => isFoundWithin(200, raid1, neverDirty()));
  it('a write-intent map that is not written at all', () => isFoundWithin(60, raid1, forgetsPages()));
});

function withWrongParity(module: JournaledModule): JournaledModule {
  return {
    ...module,
    start(raid) {
      const { kernels } = raid.memory;
      const xor: typeof kernels.xor = (dst, sources, count, bytes) => {
        kernels.xor(dst, sources, count, bytes);
        raid.memory.u8[dst] = (raid.memory.u8[dst] ?? 0) ^ 1;
      };
      return module.start(withChanged(raid, { memory: withChanged(raid.memory, { kernels: { ...kernels, xor } }) }));
    },
  };
}

/** Returns the object with these properties replaced. Its methods still see its own ones. */
function withChanged<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(_, key) {
      if (key in changes) return Reflect.get(changes, key);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

function oneBlockLarger(module: PlainModule): PlainModule {
  return {
    ...module,
    start(raid) {
      const level = module.start(raid);
      const resize: typeof level.resize = (capacities, current) => {
        const geometry = level.resize(capacities, current);
        return { ...geometry, numBlocks: geometry.numBlocks + 1 };
      };
      return withChanged(level, { resize });
    },
  };
}

function losesWrites(): SuperblockStore {
  let count = 0;
  return {
    ...store,
    write: (descriptor, record) => (++count % 2 === 0 ? Promise.resolve() : store.write(descriptor, record)),
  };
}

function ageless(): SuperblockStore {
  return {
    ...store,
    write: (descriptor, record: ArrayRecord) => store.write(descriptor, { ...record, seqNumber: 65_536 }),
  };
}

function neverDirty(): SuperblockStore {
  const { extension } = store;
  if (extension === undefined) throw new Error('the store has no extension');
  return {
    ...store,
    extension: {
      ...extension,
      writePages: (descriptor, life, pages) => {
        const clean = pages.map((page) => ({
          ...page,
          states: page.states.map((state) => (state === RegionState.Dirty ? RegionState.Clean : state)),
        }));
        return extension.writePages(descriptor, life, clean);
      },
    },
  };
}

function forgetsPages(): SuperblockStore {
  const { extension } = store;
  if (extension === undefined) throw new Error('the store has no extension');
  return { ...store, extension: { ...extension, writePages: () => Promise.resolve() } };
}
