import { IoType } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import { RaidError } from '@raidkit/core';
import type { SuperblockStore } from '@raidkit/core';
import { Fate } from '../disk-faults.js';
import type { PlanItem } from '../plan-items.js';
import type { SimDisk } from '../sim-disk.js';
import { sectorBytes } from '../sector.js';
import { Stack } from '../stack.js';
import { VolumeClient } from '../volume-client.js';
import { calm } from './rest.js';
import { assemble, end } from './restart.js';
import type { Ending } from './restart.js';
import type { Range } from './leniency.js';
import { arrayName } from './sim-run.js';
import type { SimRun } from './sim-run.js';
import { comeBack } from './trouble.js';

/** Start of the part of a member that only raidkit writes: behind SPDK's superblock, up to the data. */
const oursFromBytes = 32 * 1024;

/** How another program runs the array, and ends. */
export type ForeignUse = Pick<PlanItem & { kind: 'foreign' }, 'how' | 'mode' | 'writes'>;

/** What is known of the array before another program runs it. */
export interface BeforeForeign {
  /** Stripes that only the journal proves. */
  readonly torn: readonly Range[];
  /** Size that users were told, in blocks: a growth that is being written to the members may already be recorded. */
  readonly numBlocks: number;
}

/**
 * Another program runs the array: it reads and writes superblocks as SPDK does, increasing the sequence number by one, has no
 * bitmap and no journal, and does not touch what is between superblock and data. Then raidkit runs the array again.
 */
export async function foreignRun(run: SimRun, { before, how, mode, writes }: PlanItem & { kind: 'foreign' }): Promise<void> {
  // We are not responsible for what the other program does with redundancy in doubt.
  if (run.stack === null || !run.hasSuperblock || run.leniency.hasForgiven) return;
  calm(run);
  run.mark(`foreign run after ${before}`);
  const known = beforeForeign(run, before);
  await end(run, { how: before, mode, downMs: 10 });
  await runByOther(run, { how, mode, writes }, known);
  await assemble(run, -1);
  doubtGrown(run, known);
  if (!run.isRefused) await run.readAll('after a foreign run');
}

/** To be called before the process ends, after which another program is to run the array. */
export function beforeForeign(run: SimRun, ending: Ending['how']): BeforeForeign {
  return {
    torn: run.leniency.forgiveJournaled(ending === 'stop'),
    numBlocks: run.array()?.bdev?.numBlocks ?? 0,
  };
}

/** Another program runs the array, and ends. */
export async function runByOther(run: SimRun, { how, mode, writes }: ForeignUse, { torn }: BeforeForeign): Promise<void> {
  run.wasForeign = true;
  for (const disk of run.disks) {
    disk.onSubmit = (io) => leaveAlone(disk, run.reservedBytes, io);
    if (!disk.isPresent) comeBack(run, disk, 'same');
  }
  const perBlock = run.plan.shape.blockSize / sectorBytes;
  // What this program writes is not torn by the crash.
  const tornThen = torn.filter(({ start, end: last }) => run.model.isUnsettled(start * perBlock, last * perBlock));
  let rebuilds = 0;
  const stack = new Stack(run.world, run.memory, run.module, spdkRules(run.store), (event) => {
    if (event.type === 'processStarted' && event.process === 'rebuild') rebuilds++;
  });
  for (const disk of run.disks) await run.inTime(`examining ${disk.name}`, stack.plugIn(disk));
  await run.inTime('examining', stack.registry.waitForExamine());
  await run.world.sleep(1);
  await stack.arrays.startDegraded(arrayName).catch((error: unknown) => {
    if (!RaidError.is(error)) throw error;
    run.world.trace(`== the other one cannot start it: ${error.message}`);
  });
  const array = stack.arrays.get(arrayName);
  let volume: VolumeClient | null = null;
  let isWhole = false;
  if (array?.state === 'online') {
    run.coverage.mark(`foreign run with ${writes === 0 ? 'no' : 'some'} writes`);
    volume = open(run, stack);
    await use(run, volume, writes);
    isWhole = array.numInSync === array.numSlots && array.process === null;
  }
  // A crash of an array that lacks a member loses data with the other program, for which we are not responsible.
  const last = how !== 'stop' && isWhole ? how : 'stop';
  // The other program has one copy of the superblock. If that is torn it is damaged, and it is not known whether ours is equal.
  if (array !== undefined && last !== 'stop') await run.inTime('growing', array.resizing);
  run.world.trace(`== the other one ends: ${last}`);
  if (last === 'stop') await run.inTime('stopping', stack.arrays.stop());
  else if (volume !== null) void use(run, volume, Math.min(writes, 4)).catch(() => undefined);
  if (last !== 'stop') await run.world.sleep(run.random.exponential(2));
  stack.die();
  volume?.die();
  // The other program has rebuilt an absent member from stripes that the crash tore, without the journal. A small array is
  // rebuilt before it is found to be online here.
  if (rebuilds > 0) {
    run.coverage.mark('a foreign run rebuilds a member');
    for (const { start, end: last } of tornThen) run.model.doubtValues(start * perBlock, (last - start) * perBlock);
  }
  for (const disk of run.disks) {
    disk.onSubmit = null;
    if (last === 'power') disk.powerCut(mode);
    else disk.processDied();
  }
  if (last === 'power') run.model.powerCut();
  else run.model.killed();
  run.model.readsForgotten();
  run.memory.reset();
  if (last !== 'stop') run.wasUnclean = true;
}

/**
 * Space that checksums have used does not read as zeros: the other program lets the array grow into it and records nothing
 * about the new blocks, and only the bitmap, which counts no longer, knew that blocks from earlier growth were unwritten.
 */
export function doubtGrown(run: SimRun, { numBlocks }: BeforeForeign): void {
  const array = run.array();
  if (array === undefined || run.plan.shape.integrity === undefined || numBlocks === 0) return;
  const perBlock = array.blockSize / sectorBytes;
  run.model.doubtNeverWritten(run.firstBlocks * perBlock, numBlocks * perBlock);
  if (array.numBlocks <= numBlocks) return;
  run.coverage.mark('a foreign run takes the room of checksums');
  run.model.doubtValues(numBlocks * perBlock, (array.numBlocks - numBlocks) * perBlock);
}

function spdkRules(store: SuperblockStore): SuperblockStore {
  return {
    reservedBytes: store.reservedBytes,
    read: (descriptor) => store.read(descriptor),
    check: (record) => store.check(record),
    write: (descriptor, record) => store.write(descriptor, record),
    clear: (descriptor) => store.clear(descriptor),
  };
}

function leaveAlone(disk: SimDisk, reservedBytes: number, io: BdevIo): Fate | undefined {
  if (io.type === IoType.Read || io.type === IoType.Flush) return undefined;
  const at = io.offsetBlocks * disk.blockSize;
  return at >= oursFromBytes && at < reservedBytes ? Fate.Lose : undefined;
}

function open(run: SimRun, stack: Stack): VolumeClient {
  const descriptor = stack.registry.open(arrayName, {
    writable: true,
    onEvent: ({ type }) => {
      if (type === 'remove') volume.close();
    },
  });
  const volume: VolumeClient = new VolumeClient(
    run.world,
    stack.registry,
    descriptor,
    run.model,
    () => false,
    (violation, what) => run.wrongRead(violation, `${what} (the other one's)`),
  );
  return volume;
}

/** Writes and reads random blocks, and flushes now and then. */
async function use(run: SimRun, volume: VolumeClient, writes: number): Promise<void> {
  for (let left = writes; left > 0; left--) {
    const count = run.random.int(1, Math.min(32, volume.numBlocks));
    const offset = run.random.int(0, volume.numBlocks - count);
    await volume.submit(IoType.Write, offset, count);
    if (run.random.chance(0.2)) await volume.submit(IoType.Flush, 0, volume.numBlocks);
  }
}
