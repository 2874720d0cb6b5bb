import { IoType, LatencyHistogram, Status } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newRig, start } from './kit.js';

describe('statistics', () => {
  it('count what was done, what failed and how long it took', () => {
    const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
    const descriptor = registry.open(bdev, { writable: true });
    const addr = world.memory.zeroAddr;
    start(descriptor, IoType.Write, 0, 4, { addr });
    world.pass(2);
    start(descriptor, IoType.Write, 0, 2, { addr });
    world.pass(3);
    driver.finish(driver.held[0]!);
    driver.finish(driver.held[0]!, Status.IoError);
    world.pass(10);
    start(descriptor, IoType.Flush, 0, 64);
    world.pass(1);
    driver.finishAll();
    const { stats } = bdev;
    expect([stats.ops[IoType.Write], stats.bytes[IoType.Write], stats.errors[IoType.Write]]).toEqual([1, 2048, 1]);
    expect(stats.latencyMs[IoType.Write]).toBe(5);
    expect([stats.ops[IoType.Flush], stats.bytes[IoType.Flush]]).toEqual([1, 0]);
    expect([stats.inFlight, stats.busyMs, stats.weightedMs]).toEqual([0, 6, 2 + 3 * 2 + 1]);
    const p50 = stats.histograms[IoType.Write]!.quantileUs(0.5);
    expect(p50).toBeGreaterThanOrEqual(5000);
    expect(p50).toBeLessThanOrEqual(5000 * 1.19);
    stats.reset();
    expect([stats.ops[IoType.Write], stats.busyMs, stats.histograms[IoType.Write]!.quantileUs(0.5)]).toEqual([0, 0, 0]);
  });

  it('give quantiles that are off by 19 % at most', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.001, max: 3_000_000, noNaN: true }), { minLength: 1 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (times, q) => {
          const histogram = new LatencyHistogram();
          for (const ms of times) histogram.record({ submittedAt: 0 }, ms);
          const exactUs = [...times].sort((a, b) => a - b)[Math.ceil(q * times.length) - 1]! * 1000;
          const got = histogram.quantileUs(q);
          expect(got).toBeGreaterThanOrEqual(exactUs * 0.999);
          expect(got).toBeLessThanOrEqual(exactUs * 1.2);
        },
      ),
    );
  });
});
