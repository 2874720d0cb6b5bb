import { expect, it } from 'vitest';
import { Spin } from '../src/spin.js';

/** The spin under test, and a processor that other threads may want. */
function newSpin(limitMs: number): { spin: Spin; world: { waitedMs: number } } {
  const world = { waitedMs: 0 };
  return { spin: new Spin(limitMs, { waitedMs: () => world.waitedMs }), world };
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

it('leaves the processor to others that want it, for ever longer while they do', () => {
  const { spin, world } = newSpin(0.1);
  /** Milliseconds, in steps of ten, until it goes on again. */
  const offFor = (from: number): number => {
    for (let now = from; ; now += 10) {
      spin.worked(now);
      if (spin.goesOn(now + 0.01)) return now - from;
    }
  };
  expect(offFor(1000)).toBe(0);
  const waits: number[] = [];
  let now = 1100;
  for (let i = 0; i < 6; i++) {
    world.waitedMs += 1000;
    waits.push(offFor(now));
    now += waits.at(-1)! + 60;
  }
  expect(waits).toEqual([100, 200, 400, 800, 1600, 1600]);
  // No other thread wants it in the next 50 ms.
  expect([offFor(now), offFor(now + 60)]).toEqual([0, 0]);
  now += 120;
  world.waitedMs += 1000;
  expect(offFor(now)).toBe(100);
});

it('does not take the waits of its own thread, which sleeps, for a wish of others', () => {
  const { spin, world } = newSpin(0.1);
  let now = 1000;
  // Requests that come too late for the spin: the processor is halted, and takes a while to wake.
  for (let i = 0; i < 1000; i++) {
    spin.worked(now);
    spin.goesOn(now + 0.01);
    spin.goesOn(now + 0.2);
    now += 0.25;
    world.waitedMs += 0.07;
  }
  // Requests arrive in time from now on.
  const tries: boolean[] = [];
  for (let i = 0; i < 200; i++) {
    spin.worked(now);
    now += 0.03;
    tries.push(spin.goesOn(now));
  }
  expect(tries.slice(100)).toEqual(Array.from({ length: 100 }, () => true));
});
