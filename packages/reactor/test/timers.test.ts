import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TimerQueue } from '../src/timers.js';
import type { Timer } from '../src/timers.js';

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('add' as const), inMs: fc.integer({ min: 0, max: 50 }) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('cancel' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('run' as const), forMs: fc.integer({ min: 0, max: 30 }) }) },
);

it('timers fire once, in order, never early, and never after they were cancelled', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const queue = new TimerQueue();
      const handles: Timer[] = [];
      // What should fire: sorted by time, then by making.
      let expected: { id: number; at: number }[] = [];
      const fired: number[] = [];
      let now = 0;
      for (const one of steps) {
        if (one.type === 'add') {
          const id = handles.length;
          handles.push(queue.add(() => void fired.push(id), now + one.inMs));
          expected.push({ id, at: now + one.inMs });
        } else if (one.type === 'cancel') {
          const id = one.which % Math.max(1, handles.length);
          const handle = handles[id];
          if (handle !== undefined) queue.cancel(handle);
          expected = expected.filter((timer) => timer.id !== id);
        } else {
          now += one.forMs;
          const due = expected.filter(({ at }) => at <= now).sort((a, b) => a.at - b.at || a.id - b.id);
          expected = expected.filter(({ at }) => at > now);
          expect(queue.run(now)).toBe(due.length);
          expect(fired.splice(0)).toEqual(due.map(({ id }) => id));
        }
        expect(queue.nextAt).toBe(Math.min(Infinity, ...expected.map(({ at }) => at)));
      }
    }),
  );
});

it('a timer that is added while timers run waits for the next time', () => {
  const queue = new TimerQueue();
  let count = 0;
  const again = (): void => {
    count++;
    queue.add(again, 0);
  };
  queue.add(again, 0);
  expect([queue.run(10), queue.run(10), count]).toEqual([1, 1, 2]);
});
