import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferMemory, type BufferWaiter, SizeClassPool } from '../src/index.js';

/** A waiter that takes its buffer at once and says so. */
function taker(pool: SizeClassPool, bytesWanted: number, took: (addr: number) => void): BufferWaiter {
  return {
    bytesWanted,
    onBuffer() {
      took(pool.get(bytesWanted));
    },
  };
}

describe('SizeClassPool', () => {
  it('picks the smallest class that fits, then larger ones', () => {
    const memory = new BufferMemory({ bytes: 1 << 20 });
    const pool = new SizeClassPool(memory, {
      classes: [
        { slotBytes: 65536, count: 1 },
        { slotBytes: 4096, count: 2 },
      ],
      headerBytes: 16,
    });
    expect(pool.maxBytes).toBe(65536);
    const addrs = [pool.get(512), pool.get(4096), pool.get(1)];
    expect(addrs.map((addr) => pool.slotBytesOf(addr))).toEqual([4096, 4096, 65536]);
    expect(pool.get(1)).toBe(-1);
    pool.put(addrs[0]!);
    expect(pool.get(4097)).toBe(-1);
    expect(pool.get(65537)).toBe(-1);
    expect(() => pool.put(addrs[0]! + 4096)).toThrow(/not a buffer of this pool/);
    expect(() => pool.slotBytesOf(0)).toThrow(/not a buffer of this pool/);
    expect(() => pool.put(addrs[0]!)).toThrow(/released twice/);
  });

  it('gives, takes back and serves waiters like a plain model of it', () => {
    const sizes = [4096, 8192, 32768];
    const step = fc.tuple(
      fc.constantFrom('get', 'get', 'get', 'put', 'put', 'pin', 'unpin', 'cancel'),
      fc.nat(),
      fc.integer({ min: 1, max: 32768 }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
        fc.array(step, { maxLength: 200 }),
        (counts, steps) => {
          const memory = new BufferMemory({ bytes: 1 << 20 });
          const pool = new SizeClassPool(memory, { classes: sizes.map((slotBytes, i) => ({ slotBytes, count: counts[i]! })) });
          const available = [...counts];
          const out: number[] = [];
          const held: number[] = [];
          const pins: number[] = [];
          let queue: { waiter: BufferWaiter; order: number }[] = [];
          let ordered = 0;
          let served: number[] = [];

          const modelGet = (bytes: number) => sizes.findIndex((size, i) => size >= bytes && available[i]! > 0);
          const take = (addr: number, bytes: number) => {
            const expected = modelGet(bytes);
            expect(addr >= 0).toBe(expected >= 0);
            if (addr < 0) return false;
            expect(pool.slotBytesOf(addr)).toBe(sizes[expected]);
            expect(out.includes(addr) || held.includes(addr)).toBe(false);
            available[expected]!--;
            out.push(addr);
            return true;
          };
          const wait = (bytes: number) => {
            const order = ordered++;
            const waiter = taker(pool, bytes, (addr) => {
              expect(queue.some((entry) => entry.order === order)).toBe(true);
              queue = queue.filter((entry) => entry.order !== order);
              served.push(order);
              expect(take(addr, bytes)).toBe(true);
            });
            queue.push({ waiter, order });
            pool.wait(waiter);
            expect(() => pool.wait(waiter)).toThrow(/in the queue already/);
          };
          // Slots count as free when the pool is told, that is before it calls the waiters.
          const free = (addr: number) => available[sizes.indexOf(pool.slotBytesOf(addr))]!++;

          for (const [kind, pick, bytes] of steps) {
            served = [];
            if (kind === 'get') {
              if (!take(pool.get(bytes), bytes)) wait(bytes);
            } else if (kind === 'put' && out.length > 0) {
              const [addr] = out.splice(pick % out.length, 1) as [number];
              if (pins.includes(addr)) held.push(addr);
              else free(addr);
              pool.put(addr);
            } else if (kind === 'pin' && out.length > 0) {
              const addr = out[pick % out.length]!;
              memory.pin(addr);
              pins.push(addr);
            } else if (kind === 'unpin' && pins.length > 0) {
              const [addr] = pins.splice(pick % pins.length, 1) as [number];
              if (held.includes(addr) && !pins.includes(addr)) {
                held.splice(held.indexOf(addr), 1);
                free(addr);
              }
              memory.unpin(addr);
            } else if (kind === 'cancel' && queue.length > 0) {
              const [entry] = queue.splice(pick % queue.length, 1);
              pool.cancel(entry!.waiter);
              pool.cancel(entry!.waiter);
            }
            // The oldest waiter is served first, and no waiter waits for a buffer that is free.
            expect(served).toEqual(served.toSorted((a, b) => a - b));
            for (const { waiter } of queue) expect(modelGet(waiter.bytesWanted)).toBe(-1);
          }
          if (queue.length > 0) expect(() => pool.close()).toThrow(/waiters/);
          for (const { waiter } of queue) pool.cancel(waiter);
          for (const addr of out.splice(0)) pool.put(addr);
          pool.close();
          for (const addr of pins) memory.unpin(addr);
          expect(memory.freeBytes).toBe(new BufferMemory({ bytes: 1 << 20 }).freeBytes);
        },
      ),
      { numRuns: 300 },
    );
  });

  const oneSlot = () => {
    const memory = new BufferMemory({ bytes: 131072 });
    return { memory, pool: new SizeClassPool(memory, { classes: [{ slotBytes: 4096, count: 1 }] }) };
  };

  it.each(['takes and puts back', 'leaves the buffer'])(
    'does not call back someone who %s and waits again, until the next put',
    (what) => {
      const { pool } = oneSlot();
      let calls = 0;
      const undecided: BufferWaiter = {
        bytesWanted: 1,
        onBuffer() {
          if (++calls > 9) return; // Otherwise the loop would never end.
          if (what === 'takes and puts back') pool.put(pool.get(1));
          pool.wait(undecided);
        },
      };
      const addr = pool.get(1);
      pool.wait(undecided);
      pool.put(addr);
      expect(calls).toBe(1);
      pool.put(pool.get(1));
      expect(calls).toBe(2);
      pool.cancel(undecided);
      pool.close();
    },
  );

  it('serves someone who joined inside a callback when a buffer comes back inside a later one, one call after the other', () => {
    const { pool } = oneSlot();
    const log: string[] = [];
    const third = taker(pool, 1, (addr) => {
      log.push(`third ${addr >= 0}`);
      pool.put(addr);
    });
    const first = taker(pool, 1, (addr) => {
      log.push(`first ${addr >= 0}`);
      pool.wait(third);
      pool.put(addr);
      log.push('first done');
    });
    const second = taker(pool, 1, (addr) => {
      log.push(`second ${addr >= 0}`);
      pool.put(addr);
    });
    const addr = pool.get(1);
    pool.wait(first);
    pool.wait(second);
    pool.put(addr);
    expect(log).toEqual(['first true', 'first done', 'second true', 'third true']);
    pool.close();
  });

  it('does not lose anyone when a callback cancels another waiter', () => {
    const memory = new BufferMemory({ bytes: 131072 });
    const pool = new SizeClassPool(memory, {
      classes: [
        { slotBytes: 4096, count: 2 },
        { slotBytes: 8192, count: 1 },
      ],
    });
    const log: string[] = [];
    const large = taker(pool, 8192, () => log.push('large'));
    const middle = taker(pool, 1, () => log.push('middle'));
    const first = taker(pool, 1, (addr) => {
      log.push('first');
      pool.cancel(large);
      pool.put(addr);
    });
    const addrs = [pool.get(1), pool.get(1), pool.get(1)];
    for (const waiter of [large, first, middle]) pool.wait(waiter);
    pool.put(addrs[0]!);
    expect(log).toEqual(['first', 'middle']);
  });

  it('serves a waiter when the last pin of a put buffer goes', () => {
    const { memory, pool } = oneSlot();
    const addr = pool.get(1);
    let got = -1;
    pool.wait(taker(pool, 4096, (a) => (got = a)));
    memory.pin(addr + 100);
    pool.put(addr);
    expect(got).toBe(-1);
    memory.unpin(addr + 100);
    expect(got).toBe(addr);
  });

  it('hands a buffer over at once, or to who has waited longest when one comes back', () => {
    const pool = new SizeClassPool(new BufferMemory({ bytes: 1 << 20 }), { classes: [{ slotBytes: 4096, count: 1 }] });
    const got: number[] = [];
    pool.getWhenFree(512, (addr) => got.push(addr));
    expect(got).toHaveLength(1);
    pool.getWhenFree(512, (addr) => got.push(addr));
    pool.getWhenFree(4096, (addr) => got.push(addr));
    for (const length of [2, 3]) {
      pool.put(got[0]!);
      expect(got).toHaveLength(length);
    }
    pool.put(got[0]!);
    pool.close();
  });

  it('refuses a wait that could never end', () => {
    const { pool } = oneSlot();
    expect(() => pool.wait(taker(pool, 4097, () => undefined))).toThrow(RangeError);
    expect(() => pool.wait(taker(pool, NaN, () => undefined))).toThrow(RangeError);
  });

  it('takes nothing when not all classes fit, and closes all or none', () => {
    const memory = new BufferMemory({ bytes: 262144 });
    const total = memory.freeBytes;
    const classes = [
      { slotBytes: 4096, count: 4 },
      { slotBytes: 65536, count: 9 },
    ];
    expect(() => new SizeClassPool(memory, { classes })).toThrow(/buffer memory are free/);
    expect(memory.freeBytes).toBe(total);
    expect(() => new SizeClassPool(memory, { classes: [] })).toThrow(RangeError);
    const pool = new SizeClassPool(memory, {
      classes: [
        { slotBytes: 4096, count: 1 },
        { slotBytes: 65536, count: 1 },
      ],
    });
    const addr = pool.get(65536);
    expect(() => pool.close()).toThrow(/cannot close/);
    const small = pool.get(1);
    expect(small).toBeGreaterThan(0);
    pool.put(small);
    pool.put(addr);
    pool.close();
    expect(memory.freeBytes).toBe(total);
  });
});
