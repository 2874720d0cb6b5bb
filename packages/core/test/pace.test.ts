import { expect, it } from 'vitest';
import { ProcessPace } from '../src/sync/pace.js';

it('the rate is that of late', () => {
  const pace = new ProcessPace(0);
  expect(pace.rate(0)).toBe(0);
  pace.worked(500, 500);
  expect(pace.rate(500)).toBe(1);
  for (let now = 1000; now <= 60_000; now += 1000) pace.worked(1000, now);
  expect(pace.rate(60_000)).toBeCloseTo(1, 1);
  // The rate drops to a tenth: after ten seconds the estimate has followed by two thirds, after a minute almost completely.
  for (let now = 61_000; now <= 70_000; now += 1000) pace.worked(100, now);
  expect(pace.rate(70_000)).toBeCloseTo(0.1 + 0.9 / Math.E, 1);
  for (let now = 71_000; now <= 130_000; now += 1000) pace.worked(100, now);
  expect(pace.rate(130_000)).toBeCloseTo(0.1, 1);
  // Nothing completes at all: this is noticed without a completion.
  expect(pace.rate(230_000)).toBeLessThan(0.001);
});

it('no time passes while it is paused', () => {
  const pace = new ProcessPace(0);
  for (let now = 1000; now <= 10_000; now += 1000) pace.worked(1000, now);
  const before = pace.rate(10_000);
  pace.pause(10_000);
  expect(pace.rate(1_000_000)).toBe(before);
  pace.resume(1_000_000);
  for (let now = 1_001_000; now <= 1_010_000; now += 1000) pace.worked(1000, now);
  expect(pace.rate(1_010_000)).toBeCloseTo(before, 5);
});
