import type { RaidModule } from '@raidkit/core';
import { spdkSuperblockStore as store } from '@raidkit/superblock';
import { runFaultLoop, sweep } from '@raidkit/testkit';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { tapped } from '../src/level-tap/tap.js';

/** The level that `npm create @raidkit/level` makes, with strips of so many blocks, whatever the array's strip size is. */
async function levelOf(flavour: string, stripSizeBlocks: number): Promise<RaidModule> {
  // The generator puts names and numbers in.
  vi.stubGlobal('__CODE__', 0x5_4321);
  const path = `../../create-level/template/${flavour}/src/level.js`;
  const { level } = (await import(path)) as { level: RaidModule };
  return tapped({ ...level, level: `own-${flavour}` }, () => ({ context: { stripSizeBlocks } }));
}

it('a level without a journal may lose the blocks of an absent member where another member refuses a write', async () => {
  const { failures, runs } = await runFaultLoop({
    module: await levelOf('parity', 8),
    store,
    scenario: 'remove a member, and write',
    kinds: ['full'],
  });
  expect(failures.map(({ at, violation }) => `at ${at}: ${violation}`)).toEqual([]);
  expect(runs).toBeGreaterThan(10);
});

afterAll(() => vi.unstubAllGlobals());

describe('a level that its author has just made is simulated without a violation', () => {
  // Strips that are no power of two, and whole checksums, parts of one, and more than a small disk.
  for (const [flavour, strips, count] of [
    ['plain', [3, 24, 640], 25],
    ['parity', [5, 24], 12],
    ['copies', [1], 25],
  ] as const) {
    for (const strip of strips) {
      it(`${flavour}, in strips of ${strip} blocks`, async () => {
        const { coverage, failures } = await sweep({ module: await levelOf(flavour, strip), store, from: 0, count });
        expect(failures.map(({ seed, violation }) => `seed ${seed}: ${violation ?? ''}`)).toEqual([]);
        if (strip % 8 === 0) expect(coverage.count('shape: checksums')).toBeGreaterThan(0);
        else if (flavour !== 'copies') expect(coverage.count('shape: checksums')).toBe(0);
      }, 300_000);
    }
  }
});
