import { RangeLock, RangeLocks } from '@raidkit/bdev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

interface Wish {
  id: number;
  lock: RangeLock;
  askedAt: number;
  isHeld: boolean;
}

const overlap = (a: RangeLock, b: RangeLock) => a.start < b.end && b.start < a.end;
const clash = (a: RangeLock, b: RangeLock) => overlap(a, b) && !(a.isShared && b.isShared);

describe('range locks', () => {
  it('never have two clashing holders, are granted in order, and all of them', () => {
    // Near one another, at the ends of places, modulo their number, and far beyond 32 bits; short, long and very long.
    const place = fc.oneof(
      { weight: 4, arbitrary: fc.nat(30) },
      { weight: 2, arbitrary: fc.constantFrom(15, 16, 512 * 16 + 3, 2 ** 40, 2 ** 52) },
    );
    const length = fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 12 }) },
      { weight: 1, arbitrary: fc.constantFrom(100, 1024, 1025, 20_000) },
    );
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ start: place, length, isShared: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ release: fc.nat(50) }) },
    );
    // Some holders let go at once, inside the call that tells them.
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 2, max: 9 }), (steps, hasty) => {
        const locks = new RangeLocks();
        const wishes: Wish[] = [];
        const held = () => wishes.filter(({ isHeld }) => isHeld);
        const onHeld = (wish: Wish) => {
          for (const other of held()) expect(clash(other.lock, wish.lock)).toBe(false);
          for (const other of wishes) {
            const isOvertaken =
              !other.isHeld && other.lock.isWaiting && other.askedAt < wish.askedAt && clash(other.lock, wish.lock);
            expect(isOvertaken).toBe(false);
          }
          wish.isHeld = true;
        };
        const release = (wish: Wish) => {
          wish.isHeld = false;
          locks.release(wish.lock);
        };
        const nobodyWaitsForNothing = () => {
          for (const { lock, askedAt } of wishes) {
            const blocks = (other: Wish) => other.isHeld || (other.lock.isWaiting && other.askedAt < askedAt);
            if (lock.isWaiting) expect(wishes.some((other) => blocks(other) && clash(other.lock, lock))).toBe(true);
          }
        };
        for (const one of steps) {
          nobodyWaitsForNothing();
          if ('release' in one) {
            const holders = held();
            if (holders.length > 0) release(holders[one.release % holders.length]!);
            continue;
          }
          const id = wishes.length;
          const lock = new RangeLock(() => {
            onHeld(wish);
            if (id % hasty === 0) release(wish);
          });
          const wish: Wish = { id, lock, askedAt: id, isHeld: false };
          Object.assign(lock, { start: one.start, end: one.start + one.length, isShared: one.isShared });
          wishes.push(wish);
          if (locks.acquire(lock)) onHeld(wish);
        }
        for (let holders = held(); holders.length > 0; holders = held()) release(holders[0]!);
        const granted = wishes.filter(({ lock }) => !lock.isWaiting).length;
        expect(granted).toBe(wishes.length);
        expect(locks.isIdle).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('may be used again, but not twice at a time', () => {
    const locks = new RangeLocks();
    const a = new RangeLock(() => undefined);
    const b = new RangeLock(() => undefined);
    Object.assign(a, { start: 0, end: 4 });
    Object.assign(b, { start: 3, end: 5 });
    expect(locks.acquire(a)).toBe(true);
    expect(() => locks.acquire(a)).toThrow();
    expect(locks.acquire(b)).toBe(false);
    expect(() => locks.acquire(b)).toThrow();
    expect(() => locks.release(b)).toThrow();
    locks.release(a);
    expect(b.isHeld).toBe(true);
    expect(() => locks.release(a)).toThrow();
    locks.release(b);
    expect(locks.acquire(a)).toBe(true);
  });
});
