import { badBlocks } from './bad-blocks.mjs';
import { bdev } from './bdev.mjs';
import { checksums } from './checksums.mjs';
import { failedFlushes } from './failed-flushes.mjs';
import { gatheredWrites } from './gathered-writes.mjs';
import { ioPath } from './io-path.mjs';
import { journal } from './journal.mjs';
import { levels } from './levels.mjs';
import { linux } from './linux.mjs';
import { metadata } from './metadata.mjs';
import { nbd } from './nbd.mjs';
import { onDisk } from './on-disk.mjs';
import { processes } from './processes.mjs';
import { raid6 } from './raid6.mjs';
import { regions } from './regions.mjs';
import { severalTargets } from './several-targets.mjs';
import { slots } from './slots.mjs';

/**
 * Mutations of the sources, each of which loses or invents data. `file` is below packages/; `line` occurs in it exactly once,
 * and is replaced by `becomes`; `loses` says what goes wrong then. `levels`: on which it shows; default: by the file.
 * `tests`: files of tests that may find it, and `scenario`: of the fault loop, the one that was made for it; they are tried first.
 * `suites`: test files or folders that may find it, instead of simulation. `equivalent`: why nothing can find it.
 */
export const mutations = [
  ...ioPath,
  ...gatheredWrites,
  ...failedFlushes,
  ...raid6,
  ...regions,
  ...metadata,
  ...journal,
  ...processes,
  ...severalTargets,
  ...badBlocks,
  ...checksums,
  ...levels,
  ...slots,
  ...onDisk,
  ...bdev,
  ...linux,
  ...nbd,
];
