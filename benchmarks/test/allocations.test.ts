import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

interface Count {
  level: string;
  what: string;
  bytesPerIo: number;
  newObjects: number;
  /** Who allocates most, if it is too much. */
  most: string;
}

const program = fileURLToPath(new URL('../dist/allocations.js', import.meta.url));

describe('an I/O in steady state, over files on the ring', () => {
  let counts: Count[];

  beforeAll(() => {
    if (!existsSync(program)) throw new Error('this test runs built code: npm run build first');
    const lines = execFileSync(process.execPath, [program], { encoding: 'utf8' }).trim().split('\n');
    counts = lines.map((line) => JSON.parse(line) as Count);
  });

  it.each(['concat', 'raid0', 'raid1', 'raid5f'].flatMap((level) => ['read', 'write'].map((what) => [level, what] as const)))(
    'allocates nothing: %s, %s of 4 KiB',
    (level, what) => {
      const count = counts.find((one) => one.level === level && one.what === what)!;
      // A number that the compiler boxes here and there has 16 bytes; a promise, a closure or an array with its elements, 56 and more.
      expect(count.bytesPerIo, count.most).toBeLessThan(48);
      expect(count.newObjects).toBe(0);
    },
  );
});
