import { Bdev, BlockClient } from '@raidkit/bdev';
import type { BdevOptions } from '@raidkit/bdev';
import type { RaidArray } from './array.js';
import type { RaidContext } from './context.js';
import { RaidError } from './errors.js';
import { newUuid } from './uuid.js';

/**
 * Starts the level, writes the superblocks, and registers the volume. The members that the array starts with are
 * configured. On an error the array is as it was, in state configuring.
 */
export async function bringOnline(ctx: RaidContext, array: RaidArray): Promise<void> {
  if (array.numCurrent < array.minOperational) {
    const message = `array ${array.name}: ${array.numCurrent} of ${array.numSlots} members are not enough, ${array.minOperational} are needed`;
    throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', 19, message);
  }
  if (array.isStarting || array.state !== 'configuring') return;
  array.isStarting = true;
  const recordedBlocks = array.recordedBlocks;
  try {
    const level = array.module.start(array);
    array.level = level;
    const { numBlocks, memberBlocks } = level.geometry;
    if (numBlocks < 1) throw new RaidError('ERR_RAID_MEMBER', 22, `array ${array.name}: the members are too small for one stripe`);
    if (recordedBlocks !== null && recordedBlocks !== numBlocks) {
      const message = `array ${array.name}: the superblock says ${recordedBlocks} blocks, and its members make ${numBlocks}`;
      throw new RaidError('ERR_RAID_METADATA', 22, message);
    }
    array.slots.forEach((slot, index) => (slot.dataSize = memberBlocks[index] ?? slot.dataSize));
    if (!array.hasUuid) array.uuid = newUuid(ctx.registry.runtime);
    await recordMembers(array);
    const bdev = new Bdev(volumeOptions(array));
    array.bdev = bdev;
    const examined = ctx.registry.register(bdev);
    array.state = 'online';
    array.trouble = null;
    ctx.emit({ type: 'arrayOnline', array: array.name, degraded: array.numCurrent < array.numSlots });
    const fields = { ...array.logFields(), blocks: numBlocks, members: array.numCurrent, slots: array.numSlots };
    array.log.info(fields, 'the array is online');
    examined.catch(() => undefined);
  } catch (error) {
    await array.level?.stop?.();
    array.level = null;
    array.bdev = null;
    throw error;
  } finally {
    array.isStarting = false;
  }
}

/** Writes the superblocks, again if a member left meanwhile: none may say that it is current. */
async function recordMembers(array: RaidArray): Promise<void> {
  for (;;) {
    const members = array.numCurrent;
    array.numOperational = members;
    await array.metadata.update();
    if (array.numCurrent === members) return;
    if (array.numCurrent < array.minOperational || array.isDeleting) {
      throw new RaidError('ERR_RAID_TOO_FEW_MEMBERS', 19, `array ${array.name}: members left while it was being started`);
    }
  }
}

function volumeOptions(array: RaidArray): BdevOptions {
  const geometry = array.geometry();
  return {
    name: array.name,
    uuid: array.uuid,
    blockSize: array.blockSize,
    numBlocks: geometry.numBlocks,
    optimalIoBoundary: geometry.optimalIoBoundary ?? 0,
    splitOnBoundary: geometry.splitOnBoundary ?? false,
    writeUnitSize: geometry.writeUnitSize ?? 1,
    splitOnWriteUnit: geometry.splitOnWriteUnit ?? false,
    driver: array,
  };
}

/** Ends all I/O: no new I/O, background work stopped, what is in flight done, the volume's bdev gone, the level stopped. */
export async function takeOffline(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  if (array.state === 'online') {
    array.state = 'offline';
    array.log.warn({ ...array.logFields() }, `the array goes offline: ${reason}`);
    ctx.emit({ type: 'arrayOffline', array: array.name, reason });
  }
  array.goneOffline ??= stopEverything(ctx, array, reason);
  await array.goneOffline;
}

async function stopEverything(ctx: RaidContext, array: RaidArray, reason: string): Promise<void> {
  array.process?.stop(new Error(reason));
  await array.processEnded;
  await array.stopRepairs();
  const { bdev } = array;
  if (bdev !== null) await ctx.registry.unregister(bdev);
  array.bdev = null;
  await array.level?.stop?.();
}

/** Makes what members have acknowledged survive a power cut. Best effort: a member that fails is logged. */
export async function flushMembers(array: RaidArray): Promise<void> {
  await Promise.all(
    array.slots.map(async (slot) => {
      if (slot.descriptor === null || !slot.isConfigured) return;
      try {
        await new BlockClient(slot.descriptor).flush();
      } catch (error) {
        array.log.warn({ ...array.logFields(slot), err: error }, 'the last flush of a member failed');
      }
    }),
  );
}
