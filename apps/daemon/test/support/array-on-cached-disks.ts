import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { ArrayProcess, range } from './array-process.js';
import { CachedDisk } from './cached-disk.js';

/** What each test of a file has: disks with volatile caches, once it makes some, and an array's process, which uses them. */
export interface ArrayOnCachedDisks {
  disks: CachedDisk[];
  /** May be used only after `makeDisks`. */
  readonly array: ArrayProcess;
  readonly makeDisks: (count: number, bytes: number, lies?: boolean) => void;
  /** The disks, and the daemon with all of them open. `seed` decides what the next power cut leaves. */
  readonly powerOn: (seed: number) => Promise<void>;
  /** Starts only the daemon. */
  readonly startDaemon: () => Promise<void>;
  readonly losePower: () => Promise<void>;
}

/** Makes, before each test of the file that calls this, and cleans up after it. */
export function arrayOnCachedDisks(): ArrayOnCachedDisks {
  let folder = '';
  let array: ArrayProcess | null = null;
  const test: ArrayOnCachedDisks = {
    disks: [],
    get array() {
      if (array === null) throw new Error('there are no disks yet');
      return array;
    },
    makeDisks(count, bytes, lies = false) {
      test.disks = range(count).map((index) => new CachedDisk(join(folder, `disk${index}`), bytes, lies));
      array = new ArrayProcess(
        folder,
        range(count).map(() => ''),
      );
    },
    async powerOn(seed) {
      for (const [index, disk] of test.disks.entries()) await disk.start(seed * 16 + index);
      test.array.paths.splice(0, test.disks.length, ...test.disks.map(({ path }) => path));
      await test.startDaemon();
    },
    async startDaemon() {
      await test.array.start();
      await test.array.open(range(test.disks.length));
    },
    async losePower() {
      await test.array.losePower(() => Promise.all(test.disks.map((disk) => disk.cut())));
      for (const disk of test.disks) await disk.stop();
    },
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'raidkitd-'));
  });
  afterEach(async () => {
    await array?.end();
    array = null;
    for (const disk of test.disks) await disk.stop();
    test.disks = [];
    rmSync(folder, { recursive: true, force: true });
  });
  return test;
}
