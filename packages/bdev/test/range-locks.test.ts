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
    // Some holders release the lock at once, inside the call that grants it.
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
        const eachWaitsForAnother = () => {
          for (const { lock, askedAt } of wishes) {
            const blocks = (other: Wish) => other.isHeld || (other.lock.isWaiting && other.askedAt < askedAt);
            if (lock.isWaiting) expect(wishes.some((other) => blocks(other) && clash(other.lock, lock))).toBe(true);
          }
        };
        for (const one of steps) {
          eachWaitsForAnother();
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

  it('are held by exactly those whom the plain rule gives them to', () => {
    const step = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          start: fc.oneof({ weight: 1, arbitrary: fc.nat(40) }, { weight: 9, arbitrary: fc.nat(1500) }),
          length: fc.oneof(
            { weight: 60, arbitrary: fc.integer({ min: 1, max: 5 }) },
            { weight: 1, arbitrary: fc.constantFrom(300, 2000) },
          ),
          isShared: fc.boolean(),
        }),
      },
      { weight: 1, arbitrary: fc.record({ release: fc.nat(1000) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 600, size: 'max' }), (steps) => {
        const locks = new RangeLocks();
        /** Locks in the order of their calls, without those that have been released. */
        let present: RangeLock[] = [];
        for (const [index, one] of steps.entries()) {
          const held = present.filter(({ isHeld }) => isHeld);
          if (!('release' in one)) {
            const lock = Object.assign(new RangeLock(() => undefined), {
              start: one.start,
              end: one.start + one.length,
              isShared: one.isShared,
            });
            present.push(lock);
            locks.acquire(lock);
          } else if (held.length > 0) {
            const lock = held[one.release % held.length]!;
            present = present.filter((other) => other !== lock);
            locks.release(lock);
          }
          if (index % 8 !== 0) continue;
          const entitled = present.filter((lock, at) => !present.slice(0, at).some((earlier) => clash(earlier, lock)));
          expect(present.filter(({ isHeld }) => isHeld).map(({ arrival }) => arrival)).toEqual(
            entitled.map(({ arrival }) => arrival),
          );
        }
      }),
      { numRuns: 60 },
    );
  });

  it('are handed on along a chain of thousands, also by holders that let go at once', () => {
    const locks = new RangeLocks();
    const told: number[] = [];
    const chain = Array.from({ length: 20_000 }, (_, index) => {
      const lock: RangeLock = new RangeLock(() => {
        told.push(index);
        locks.release(lock);
      });
      return Object.assign(lock, { start: index % 7, end: 8 });
    });
    const first = chain[0]!;
    for (const lock of chain) locks.acquire(lock);
    locks.release(first);
    expect(told).toEqual(Array.from({ length: 19_999 }, (_, index) => index + 1));
    expect(locks.isIdle).toBe(true);
  });

  it.each([
    ['in one block', () => [7, 8]],
    ['that begin one behind the other, and all overlap', (index: number) => [index, 7000]],
    [
      'far apart, with every second one over all of them',
      (index: number) => (index % 2 === 0 ? [index * 100, index * 100 + 1] : [0, 700_000]),
    ],
    ['of neighbours', (index: number) => [index, index + 2]],
  ] as const)('of thousands of writers behind one wide lock cost a few looks each: %s', (_what, rangeOf) => {
    const locks = new RangeLocks();
    let looks = 0;
    const held: RangeLock[] = [];
    const newLock = (start: number, end: number, isShared: boolean): RangeLock => {
      const lock = new RangeLock(() => held.push(lock));
      Object.defineProperty(lock, 'start', {
        get: () => {
          looks++;
          return start;
        },
      });
      return Object.assign(lock, { end, isShared });
    };
    const wide = newLock(0, 1_000_000, true);
    locks.acquire(wide);
    const writers = 6120;
    for (let index = 0; index < writers; index++) {
      const [start = 0, end = 0] = rangeOf(index);
      locks.acquire(newLock(start, end, false));
    }
    locks.release(wide);
    let released = 0;
    for (let lock = held.shift(); lock !== undefined; lock = held.shift()) {
      locks.release(lock);
      released++;
    }
    expect(released).toBe(writers);
    expect(looks / writers).toBeLessThan(700);
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
