/**
 * What looks for a mutation, in this order, cheapest first: as CI does for a sample of them, as the nightly does for all, and
 * for a first look at new rows of the table.
 */
const budgets = {
  quick: {
    seeds: 60,
    scenarioEvery: 9,
    faultsEvery: { raid1: 2003, raid5f: 4001, raid0: 503, concat: 503 },
    pairsEvery: { raid1: 503, raid5f: 1009, raid0: 251, concat: 251 },
    assemblyEvery: 211,
  },
  ci: {
    seeds: 300,
    scenarioEvery: 2,
    faultsEvery: { raid1: 211, raid5f: 503, raid0: 101, concat: 101 },
    pairsEvery: { raid1: 211, raid5f: 503, raid0: 101, concat: 101 },
    assemblyEvery: 29,
  },
  nightly: {
    seeds: 3000,
    scenarioEvery: 1,
    faultsEvery: { raid1: 29, raid5f: 53, raid0: 13, concat: 13 },
    pairsEvery: { raid1: 13, raid5f: 29, raid0: 13, concat: 13 },
    assemblyEvery: 3,
  },
};

/** The levels in which a mutation shows, unless its row names them. */
function levelsOf({ file, levels }) {
  if (levels !== undefined) return levels;
  const [name] = file.split('/');
  return ['raid0', 'raid1', 'raid5f', 'concat'].includes(name) ? [name] : ['raid1', 'raid5f'];
}

/** Fewest members that a level is assembled from here. */
const numSlots = { raid0: 2, concat: 2, raid1: 2, raid5f: 3 };

/**
 * The stages for a mutation. `seed` chooses seeds and operations; with another number others are tried. What was made for it goes
 * first: tests that it names, and its scenario of the fault loop; suites last, unless they are all that may find it.
 */
export function stagesFor(mutation, budget, seed) {
  const { scenario, tests } = mutation;
  if (mutation.suites !== undefined) return [tested(mutation.suites)];
  const { seeds, scenarioEvery, faultsEvery, pairsEvery, assemblyEvery } = budgets[budget];
  const levels = levelsOf(mutation);
  const each = (kind, more) => levels.map((level) => ({ name: `${kind} ${level}`, kind, level, ...more(level) }));
  const short = Math.ceil(seeds / 4);
  const ofScenario = { every: scenarioEvery, seed, scenario };
  return [
    ...(tests === undefined ? [] : [tested(tests)]),
    ...(scenario === undefined ? [] : [...each('faults', () => ofScenario), ...each('pairs', () => ofScenario)]),
    ...each('simulation', () => ({ from: 1 + seed * 1000, seeds: short })).map((stage) => ({
      ...stage,
      name: `short ${stage.name}`,
    })),
    ...each('pairs', (level) => ({ every: pairsEvery[level], seed })),
    ...each('simulation', () => ({ from: 1 + seed * 1000 + short, seeds: seeds - short })),
    ...each('faults', (level) => ({ every: faultsEvery[level], seed })),
    ...(budget === 'quick' ? [] : each('conformance', () => ({}))),
    ...each('assembly', (level) => ({ numSlots: numSlots[level], every: assemblyEvery })),
    ...(budget === 'quick' ? [] : [tested(suitesOf(mutation))]),
  ];
}

function tested(suites) {
  return { name: 'suites', kind: 'suites', suites };
}

/** Suites that run last where simulation has found nothing, by package: they were written for one defect each. */
function suitesOf({ file }) {
  const [name] = file.split('/');
  if (name === 'superblock') return ['packages/superblock/test', 'test/golden.test.ts'];
  if (name === 'bdev') return ['packages/bdev/test'];
  return ['packages/core/test', 'test/levels.test.ts', 'test/golden.test.ts'];
}

/** The mutation is not found by its own suites alone. */
export function isSimulated({ suites }) {
  return suites === undefined;
}
