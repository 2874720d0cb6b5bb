import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

interface Count {
  level: string;
  what: string;
  bytesPerIo: number;
  newObjects: number;
  /** Names the functions that allocate most, if it is too much. */
  most: string;
}

/** A number that the compiler boxes here and there has 16 bytes; a promise, a closure or an array with its elements, 56 and more. */
const mostBytes = 48;
const mostProcesses = 3;
const program = fileURLToPath(new URL('../dist/allocations.js', import.meta.url));

/** In a process of its own; every one counts the same, in the same order. */
function run(): Count[] {
  const lines = execFileSync(process.execPath, [program], { encoding: 'utf8' }).trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Count);
}

describe('an I/O in steady state, over files on the ring', () => {
  let counts: Count[];

  beforeAll(() => {
    if (!existsSync(program)) throw new Error('this test runs built code: npm run build first');
    counts = run();
    // What the compiler makes of a process depends on what it met first: where it boxes a number more, another process is asked.
    for (
      let processes = 1;
      processes < mostProcesses && counts.some(({ bytesPerIo }) => bytesPerIo >= mostBytes);
      processes++
    ) {
      const others = run();
      counts = counts.map((one, index) => (others[index]!.bytesPerIo < one.bytesPerIo ? others[index]! : one));
    }
  }, 300_000);

  it.each(
    ['concat', 'raid0', 'raid1', 'raid5f', 'raid6', 'raid10'].flatMap((level) =>
      ['read', 'write'].map((what) => [level, what] as const),
    ),
  )('allocates nothing: %s, %s of 4 KiB', (level, what) => {
    const count = counts.find((one) => one.level === level && one.what === what)!;
    expect(count.bytesPerIo, count.most).toBeLessThan(mostBytes);
    expect(count.newObjects).toBe(0);
  });
});
