import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { RunQueueWait } from '../src/run-queue-wait.js';

it('knows how long this thread had to wait for a processor, and never says less than before', () => {
  const wait = new RunQueueWait();
  wait.open();
  const found = Array.from({ length: 20 }, () => {
    // The loop is long enough for the thread to be preempted.
    for (const end = performance.now() + 2; performance.now() < end;);
    return wait.waitedMs();
  });
  wait.close();
  expect(found.every(Number.isFinite)).toBe(true);
  expect(found).toEqual(found.toSorted((a, b) => a - b));
  if (existsSync('/proc/thread-self/schedstat')) expect(found.at(-1)).toBeLessThan(performance.now() + 60_000);
});

it('makes do with the times of being put aside where the kernel does not count', () => {
  const wait = new RunQueueWait();
  expect(wait.waitedMs()).toBeGreaterThanOrEqual(0);
  expect(wait.waitedMs()).toBeLessThanOrEqual(process.resourceUsage().involuntaryContextSwitches);
});
