import { Bdev, IoType, RangeLocks } from '@raidkit/bdev';
import type { RaidModule, SuperblockStore } from '@raidkit/core';
import { BufferPool } from '@raidkit/parity';
import { raid1 } from '@raidkit/raid1';
import { raid5f } from '@raidkit/raid5f';
import { spdkSuperblockStore } from '@raidkit/superblock';
import { conformanceCases, runFaultLoop, sweep } from '@raidkit/testkit';
import { afterEach, describe, expect, it, vi } from 'vitest';
// The imports use paths and not packages, because the code that is broken here is not part of the public interface.
import { CommitBarrier } from '../../core/src/metadata/commit-barrier.js';
import { RebuildTask } from '../../core/src/sync/rebuild.js';
import { WriteIntentBitmap } from '../../core/src/bitmap/write-intent-bitmap.js';
import { ResyncTask } from '../../core/src/sync/resync.js';
import { Discards } from '../../core/src/bitmap/discards.js';
import { RequestPath } from '../../core/src/io/request-path.js';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The simulator must find something within so many seeds. */
async function isFoundWithin(seeds: number, module: RaidModule, from = 1, store = spdkSuperblockStore): Promise<void> {
  // The budgets apply to runs without corruption of records.
  const plan = { hasMetadataLies: false };
  const { failures } = await sweep({ module, store, from, count: seeds, bail: true, plan });
  expect(
    failures.map(({ violation }) => violation?.slice(0, 2)),
    'something was found',
  ).toEqual([expect.stringMatching(/^G\d/)]);
}

/** The fault loop must find something in the scenarios of this name. */
async function isFoundIn(scenario: string, module: RaidModule, store: SuperblockStore, every = 2): Promise<void> {
  const { failures } = await runFaultLoop({ module, store, scenario, kinds: ['kill', 'cut', 'torn'], every });
  expect(failures.length).toBeGreaterThan(0);
}

const nothing = (): Promise<void> => Promise.resolve();

describe('rules of the core, broken one at a time, are found', () => {
  it('a write is acknowledged before the survivors know who is out', () => {
    vi.spyOn(CommitBarrier.prototype, 'holds').mockReturnValue(false);
    return isFoundIn('a member is pulled out under load and put back', raid1, spdkSuperblockStore, 1);
  }, 300_000);

  it('volumes take no unmap', () => {
    vi.spyOn(RequestPath.prototype, 'supports').mockImplementation((type) => type !== IoType.Unmap);
    return isFoundWithin(10, raid1);
  });

  it('memory is not given back', () => {
    vi.spyOn(BufferPool.prototype, 'close').mockImplementation(() => undefined);
    return isFoundWithin(10, raid1);
  });

  it('no write is recorded before it is done', () => {
    vi.spyOn(WriteIntentBitmap.prototype, 'begin').mockReturnValue(true);
    return isFoundWithin(20, raid1);
  });

  it('a process does not wait for a first write’s zeros', () => {
    vi.spyOn(WriteIntentBitmap.prototype, 'whenZeroed').mockImplementation(nothing);
    // One seed in about a thousand finds it.
    return isFoundWithin(20, raid1, 2680);
  });

  it('there are no locks on ranges', () => {
    vi.spyOn(RangeLocks.prototype, 'acquire').mockImplementation((lock) => (lock.isHeld = true));
    return isFoundWithin(20, raid5f);
  });

  it.each([
    [1, 0],
    [0, -1],
  ])('a window is not locked up to its edges: PROC-06', async (first, last) => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its object, below
    const { quiesce } = Bdev.prototype;
    vi.spyOn(Bdev.prototype, 'quiesce').mockImplementation(function (this: Bdev, offset, count, onQuiesced) {
      return quiesce.call(this, offset + first, count - first + last, onQuiesced);
    });
    const edges = conformanceCases(raid1).find(({ id }) => id === 'PROC-06');
    await expect(edges!.run({ module: raid1, store: spdkSuperblockStore })).rejects.toThrow();
  });

  it('a rebuild passes over what the member has missed', () => {
    vi.spyOn(RebuildTask.prototype, 'isNeeded').mockReturnValue(false);
    return isFoundWithin(20, raid1);
  });

  it('a resync finds nothing that it has to do', () => {
    vi.spyOn(ResyncTask.prototype, 'isNeeded').mockReturnValue(false);
    return isFoundWithin(100, raid5f);
  });

  it('a resync never says that it is done', () => {
    vi.spyOn(ResyncTask.prototype, 'onProgress').mockImplementation(nothing);
    return isFoundWithin(20, raid1);
  });

  it('what the array knows is not written to its members at a start', () => {
    vi.spyOn(WriteIntentBitmap.prototype, 'writeAll').mockImplementation(nothing);
    return isFoundWithin(20, raid1);
  });

  it('a region that was unmapped counts as empty although it was written again', () => {
    vi.spyOn(Discards.prototype, 'wrote').mockReturnValue();
    return isFoundWithin(100, raid1);
  });

  it('nothing is written to the journal', () => {
    const { extension } = spdkSuperblockStore;
    const journal = { ...extension!.journal, seal: () => undefined };
    return isFoundWithin(60, raid5f, 1, { ...spdkSuperblockStore, extension: { ...extension!, journal } });
  });

  it('the journal is not read', () => {
    const { extension } = spdkSuperblockStore;
    const journal = { ...extension!.journal, read: () => Promise.resolve([]) };
    return isFoundIn('degraded writes', raid5f, { ...spdkSuperblockStore, extension: { ...extension!, journal } }, 7);
  }, 300_000);

  it('superblocks and headers are written later', () => {
    const later = (work: Promise<void>): Promise<void> => {
      work.catch(() => undefined);
      return Promise.resolve();
    };
    const { extension } = spdkSuperblockStore;
    // Superblocks alone would do no harm: a header that is there proves that its member was.
    const store: SuperblockStore = {
      ...spdkSuperblockStore,
      extension: extension && {
        ...extension,
        writeHeader: (descriptor, header) => later(extension.writeHeader(descriptor, header)),
      },
      write: (descriptor, record) => later(spdkSuperblockStore.write(descriptor, record)),
    };
    return isFoundIn('remove a member', raid1, store, 1);
  }, 300_000);
});
