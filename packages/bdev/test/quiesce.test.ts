import { IoType, Status } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newRig, start } from './kit.js';

function rig() {
  const made = newRig({ numBlocks: 100 }, (d) => (d.isManual = true));
  const descriptor = made.registry.open(made.bdev, { writable: true });
  const addr = made.world.memory.allocRegion(100 * 512);
  return {
    ...made,
    write: (offset: number, count: number) => start(descriptor, IoType.Write, offset, count, { addr }),
    descriptor,
  };
}

describe('quiesce', () => {
  it('waits for a write that was given up at its deadline', () => {
    for (const isFirst of [true, false]) {
      const { world, registry, driver, bdev } = newRig({}, (d) => (d.isManual = true));
      const descriptor = registry.open(bdev, { writable: true, ioTimeoutMs: 100 });
      let isQuiet = false;
      const quiesce = () => bdev.quiesce(0, 10, () => (isQuiet = true));
      const late = start(descriptor, IoType.WriteZeroes, 5, 1);
      if (isFirst) quiesce();
      world.pass(101);
      expect(late.status).toBe(Status.TimedOut);
      if (!isFirst) quiesce();
      world.pass(1);
      expect(isQuiet).toBe(false);
      driver.finishAll();
      world.pass(1);
      expect(isQuiet).toBe(true);
    }
  });

  it('waits for what is in flight, holds back what comes, and lets it go in order', () => {
    const { world, driver, bdev, write } = rig();
    write(0, 10);
    write(8, 4);
    write(50, 1);
    let isQuiet = false;
    const range = bdev.quiesce(9, 11, () => (isQuiet = true));
    const held = [write(15, 1), write(10, 1), write(19, 5)];
    const passing = [write(20, 5), write(0, 9)];
    world.settle();
    expect([isQuiet, driver.held.length]).toEqual([false, 5]);
    driver.finish(driver.held[0]!);
    expect(isQuiet).toBe(false);
    driver.finish(driver.held[0]!);
    expect(isQuiet).toBe(true);
    driver.finishAll();
    expect(passing.map(({ status }) => status)).toEqual([0, 0]);
    world.settle();
    expect(held.map(({ status }) => status)).toEqual([null, null, null]);
    driver.calls.length = 0;
    bdev.unquiesce(range);
    driver.finishAll();
    expect(driver.log).toEqual(['write 15+1', 'write 10+1', 'write 19+5']);
    expect(held.map(({ status }) => status)).toEqual([0, 0, 0]);
  });

  it('of a quiet range is answered in a later turn', () => {
    const { world, bdev } = rig();
    let count = 0;
    bdev.quiesce(0, 10, () => count++);
    expect(count).toBe(0);
    world.settle();
    expect(count).toBe(1);
  });

  it('lets flush and reset pass', () => {
    const { world, driver, bdev, descriptor } = rig();
    bdev.quiesce(0, 100, () => undefined);
    const flush = start(descriptor, IoType.Flush, 0, 100);
    const reset = start(descriptor, IoType.Reset, 0, 0);
    driver.finishAll();
    world.settle();
    expect([flush.status, reset.status]).toEqual([0, 0]);
  });

  it('may end inside its own callback, though an I/O reaches into two ranges', () => {
    const { driver, bdev, write } = rig();
    write(0, 100);
    const quiet: string[] = [];
    const first = bdev.quiesce(0, 10, () => {
      quiet.push('first');
      bdev.unquiesce(first);
    });
    const second = bdev.quiesce(20, 10, () => {
      quiet.push('second');
      bdev.unquiesce(second);
    });
    driver.finishAll();
    expect(quiet).toEqual(['first', 'second']);
    write(0, 100);
    expect(driver.held.length).toBe(1);
  });

  it('refuses to end twice', () => {
    const { bdev } = rig();
    const range = bdev.quiesce(0, 1, () => undefined);
    bdev.unquiesce(range);
    expect(() => bdev.unquiesce(range)).toThrow();
  });

  it('keeps its promise under any traffic', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('write' as const), offset: fc.nat(99), count: fc.integer({ min: 1, max: 30 }) }),
      fc.record({ do: fc.constant('finish' as const), which: fc.nat(20) }),
      fc.record({ do: fc.constant('quiesce' as const), slot: fc.nat(4) }),
      fc.record({ do: fc.constant('unquiesce' as const), slot: fc.nat(4) }),
      fc.record({ do: fc.constant('settle' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { world, driver, bdev, registry, write } = rig();
        const ranges = new Map<number, { range: ReturnType<typeof bdev.quiesce>; isQuiet: boolean }>();
        const outcomes: ReturnType<typeof write>[] = [];
        const check = () => {
          for (const { range, isQuiet } of ranges.values()) {
            if (isQuiet) expect(driver.held.filter((io) => range.overlaps(io))).toEqual([]);
          }
        };
        for (const one of steps) {
          if (one.do === 'write') outcomes.push(write(one.offset, Math.min(one.count, 100 - one.offset)));
          if (one.do === 'finish' && driver.held.length > 0) driver.finish(driver.held[one.which % driver.held.length]!);
          if (one.do === 'settle') world.settle();
          if (one.do === 'quiesce' && !ranges.has(one.slot)) {
            const entry = { range: null as never as ReturnType<typeof bdev.quiesce>, isQuiet: false };
            entry.range = bdev.quiesce(one.slot * 20, 20, () => (entry.isQuiet = true));
            ranges.set(one.slot, entry);
          }
          if (one.do === 'unquiesce') {
            const entry = ranges.get(one.slot);
            if (entry !== undefined) {
              bdev.unquiesce(entry.range);
              ranges.delete(one.slot);
            }
          }
          check();
        }
        world.settle();
        driver.finishAll();
        world.settle();
        for (const { isQuiet } of ranges.values()) expect(isQuiet).toBe(true);
        for (const { range } of ranges.values()) bdev.unquiesce(range);
        driver.finishAll();
        expect(outcomes.every(({ status }) => status === Status.Ok)).toBe(true);
        expect(registry.ios.outstanding).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
