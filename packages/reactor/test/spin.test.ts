import { expect, it } from 'vitest';
import { Spin } from '../src/spin.js';

/** A spin, and a processor that others may want. */
function newSpin(limitMs: number): { spin: Spin; world: { switches: number } } {
  const world = { switches: 0 };
  return { spin: new Spin(limitMs, { involuntarySwitches: () => world.switches }), world };
}

it('goes on for its time after work, and no longer', () => {
  const { spin } = newSpin(0.1);
  expect(spin.goesOn(10)).toBe(false);
  spin.worked(10);
  expect([spin.goesOn(10.05), spin.goesOn(10.09), spin.goesOn(10.11), spin.goesOn(10.12)]).toEqual([true, true, false, false]);
});

it('never goes on if it is switched off', () => {
  const { spin } = newSpin(0);
  spin.worked(10);
  expect(spin.goesOn(10)).toBe(false);
});

it('is given up while nothing comes in time, but tried again now and then; and comes back when it pays', () => {
  const { spin } = newSpin(0.1);
  let now = 0;
  const triesOf = (rounds: number, gapMs: number): number => {
    let tries = 0;
    for (let i = 0; i < rounds; i++) {
      now += gapMs;
      spin.worked(now);
      if (spin.goesOn(now + 0.01)) tries++;
      if (gapMs > 0.1) spin.goesOn(now + 0.2);
    }
    return tries;
  };
  triesOf(50, 5);
  const missed = triesOf(640, 5);
  expect(missed).toBeGreaterThan(0);
  expect(missed).toBeLessThanOrEqual(20);
  triesOf(200, 0.05);
  expect(triesOf(100, 0.05)).toBe(100);
});

it('leaves the processor to others that want it, for a while', () => {
  const { spin, world } = newSpin(0.1);
  spin.worked(1000);
  expect(spin.goesOn(1000.01)).toBe(true);
  world.switches += 100;
  spin.worked(1100);
  expect(spin.goesOn(1100.01)).toBe(false);
  spin.worked(1900);
  expect(spin.goesOn(1900.01)).toBe(false);
  spin.worked(2200);
  expect(spin.goesOn(2200.01)).toBe(true);
});
