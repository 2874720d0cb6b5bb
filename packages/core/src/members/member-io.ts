import { BdevError, BlockClient, IoType, Status } from '@raidkit/bdev';
import type { BdevIo } from '@raidkit/bdev';
import type { BlockRange } from '../format/block-ranges.js';
import type { MembersHost } from './host.js';
import { RaidError, mayHaveLostWrites, statusOf } from '../errors.js';
import type { Slot } from './slot.js';

const mapFailure = 'its write-intent bitmap could not be written';

/**
 * Submits one I/O of core to a slot's data area. Rejects with a `BdevError`; with ENODEV if the member has left or is leaving.
 */
export function memberIo(
  array: MembersHost,
  slot: Slot,
  type: IoType,
  offset: number,
  count: number,
  addr: number,
): Promise<void> {
  const { ios } = array.registry;
  return new Promise((resolve, reject) => {
    const what = `array ${array.name} slot ${slot.index} (${String(slot.name)})`;
    const { data } = slot;
    if (data === null || slot.isRemoving) {
      reject(BdevError.fromStatus(Status.NoDevice, what));
      return;
    }
    if (type === IoType.Read && array.badBlocks.has(slot.index, offset, count)) {
      reject(BdevError.fromStatus(Status.IoError, `${what}: known to be bad`));
      return;
    }
    const io = ios.get();
    io.type = type;
    io.offsetBlocks = slot.dataOffset + offset;
    io.numBlocks = count;
    io.addr = addr;
    io.owner = {
      onIoDone: (done: BdevIo) => {
        const { status } = done;
        ios.put(done);
        slot.partEnded();
        const isWrite = type === IoType.Write || type === IoType.WriteZeroes;
        if (isWrite) slot.replacement?.mark(offset, count);
        if (isWrite && status === Status.Ok) array.noteWritten(slot.index, offset, count);
        if (status === Status.Ok) resolve();
        else reject(BdevError.fromStatus(status, what));
      },
    };
    slot.partBegan();
    data.submit(io);
  });
}

/**
 * Flushes a slot's member, and fails the member if that fails. If the array cannot do without it, rejects with a `BdevError`,
 * and later flushes of the member no longer count as successful.
 */
export async function flushMember(array: MembersHost, slot: Slot, why: string): Promise<void> {
  try {
    await memberIo(array, slot, IoType.Flush, 0, slot.dataSize, -1);
  } catch (error) {
    if (array.failMember(slot.index, why)) return;
    array.noteLostFlush(slot, statusOf(error));
    throw error;
  }
}

/**
 * A write of core to a member that the array cannot do without has failed with this error. If that was the flush, earlier
 * writes of users may be lost too.
 */
export function noteFailed(array: MembersHost, slot: Slot, error: unknown): void {
  if (mayHaveLostWrites(error)) array.noteLostFlush(slot, statusOf(error));
}

/**
 * Writes the changed checksums of these blocks, or all changed ones, to the member. This is needed after blocks of clean
 * regions were healed: nothing else would write them, and the blocks would not match at the next start. If a page cannot be
 * written, the checksums report it themselves.
 */
export async function writeSums(array: MembersHost, slot: Slot, ranges?: readonly BlockRange[]): Promise<void> {
  try {
    await (ranges === undefined ? slot.sums?.writeAll() : slot.sums?.writeOut(ranges));
  } catch (error) {
    array.log.warn({ ...array.logFields(slot), err: error }, 'checksums could not be written');
  }
}

/**
 * Runs `work`, which updates the write-intent bitmap, on every member that gets writes, and fails members on which it rejects.
 * Rejects, after it has ended on all members so that it cannot overlap what comes next, if the array cannot do without such a
 * member. If in-sync members lack space and the array cannot do without them, none of these is failed, since they have lost
 * nothing. A lack of memory never fails a member.
 *
 * When this resolves, `work` is done on enough current members for the level.
 */
export async function onEveryMember(
  array: MembersHost,
  work: (client: BlockClient, slot: Slot) => Promise<void>,
): Promise<void> {
  const done: Slot[] = [];
  const full: { slot: Slot; error: unknown }[] = [];
  const results = await Promise.allSettled(
    array.slots.map(async (slot) => {
      if (slot.descriptor === null || !slot.isOperational) return;
      slot.partBegan();
      try {
        await work(new BlockClient(slot.descriptor), slot);
        done.push(slot);
      } catch (error) {
        if (statusOf(error) === Status.NoSpace) {
          full.push({ slot, error });
        } else if (RaidError.is(error) && error.code === 'ERR_RAID_MEMORY') {
          throw error;
        } else if (!array.failMember(slot.index, mapFailure)) {
          noteFailed(array, slot, error);
          throw notWritten(array, slot, error);
        }
      } finally {
        slot.partEnded();
      }
    }),
  );
  const [firstFull] = full;
  const canGoOn = array.canDoWithout(...full.map(({ slot }) => slot).filter((slot) => slot.isInSync));
  for (const { slot } of full) if (slot.isRebuilding || canGoOn) array.failMember(slot.index, mapFailure);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  if (firstFull !== undefined && !canGoOn) throw notWritten(array, firstFull.slot, firstFull.error);
  // A member that left in the meantime does not count.
  if (!array.canRunWith((slot) => slot.isInSync && done.includes(slot))) {
    throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', Status.NoDevice, `array ${array.name}: too few members are left`);
  }
}

/** Returns the error for the caller that needs the record. Errors of other kinds than a device's are returned unchanged. */
function notWritten(array: MembersHost, slot: Slot, error: unknown): unknown {
  if (!BdevError.is(error)) return error;
  const message = `array ${array.name} slot ${slot.index}: the metadata of the array could not be written to ${String(slot.name)}, and the array cannot do without it: ${error.message}`;
  return new RaidError('ERR_RAID_METADATA', error.errno, message, { cause: error });
}
