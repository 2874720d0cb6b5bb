import { describe, expect, it } from 'vitest';
import { Coverage } from '../src/coverage.js';
import { DiskFaults } from '../src/disk-faults.js';
import type { SimDisk } from '../src/sim-disk.js';
import { Standing } from '../src/simulation/standing.js';
import type { StandingRun } from '../src/simulation/standing.js';

/** A mirror of which only some disks are current, and some have lost a write. */
function mirror(names: readonly string[], current: readonly string[], losers: readonly string[]) {
  const disks = names.map(
    (name) =>
      ({
        name,
        faults: new DiskFaults(),
        latent: new Set(),
        isPresent: true,
        lastWriteErrorAt: -Infinity,
      }) as unknown as SimDisk,
  );
  const exceeded: string[] = [];
  const run = {
    world: { now: 0 },
    plan: { shape: {} },
    coverage: new Coverage(),
    disks,
    can: { narrow: true, timeouts: true },
    isRedundant: true,
    isParity: false,
    metadataLies: { isSuspect: () => false },
    sumLies: { hasLostWrite: ({ name }: SimDisk) => losers.includes(name) },
    leniency: { exceed: ({ name }: SimDisk) => exceeded.push(name), forgiveUnprotected: () => undefined },
    isTolerant: false,
    canRunWith: (members: readonly SimDisk[]) => members.length > 0,
    array: () => ({
      state: 'online',
      badBlocks: { size: 0 },
      slots: names.map((name) => ({ name, isInSync: current.includes(name) })),
    }),
  };
  return { disks, exceeded, standing: new Standing(run as unknown as StandingRun) };
}

function failReads(disk: SimDisk | undefined): void {
  if (disk !== undefined) disk.faults.readErrorRate = 0.1;
}

describe('errors after a member has left that lost a write', () => {
  it('are right while the one that is left fails', () => {
    const { disks, exceeded, standing } = mirror(['a', 'b'], ['a'], ['b']);
    failReads(disks[0]);
    standing.reset();
    expect(exceeded).toEqual(['a']);
  });

  it('are wrong if the one that is left has no fault', () => {
    const { exceeded, standing } = mirror(['a', 'b'], ['a'], ['b']);
    standing.reset();
    expect(exceeded).toEqual([]);
  });

  it('are wrong if no member that lost a write has left', () => {
    for (const losers of [[], ['a']]) {
      const { disks, exceeded, standing } = mirror(['a', 'b'], ['a'], losers);
      failReads(disks[0]);
      standing.reset();
      expect(exceeded).toEqual([]);
    }
  });

  it('are wrong as long as another one has everything and no fault', () => {
    const { disks, exceeded, standing } = mirror(['a', 'b', 'c'], ['a', 'c'], ['b']);
    failReads(disks[0]);
    standing.reset();
    expect(exceeded).toEqual([]);
  });
});
