import { BdevError, IoType, Status } from '@raidkit/bdev';
import type { BdevDescriptor, BdevIo } from '@raidkit/bdev';
import type { ReplenishedPool } from '../level/replenished-pool.js';
import type { SyncHost } from './host.js';
import { BlockRanges } from '../format/block-ranges.js';
import { dropDuplicateUuid } from '../members/duplicates.js';
import { reconstructInto } from '../io/reconstruct.js';
import { flushMember, memberIo } from '../members/member-io.js';
import type { ProcessStep, RunningProcess } from './task.js';
import { quiesced } from '../io/quiesce.js';
import { RegionState } from '../bitmap/region-state.js';
import type { Replacement } from '../members/replacement.js';
import { isUnreadable } from '../members/rewrite.js';
import { sourcesOf } from './places.js';
import { listLost, salvage } from './salvage.js';
import type { MemberDevice, Slot } from '../members/slot.js';

/** If no more than this many changed chunks are left, they are copied while the volume is quiesced. */
const fewChunks = 4;
/** Most passes over changed chunks. If users write faster than they are copied, users wait during the last one. */
const mostPasses = 8;

/**
 * Copies a member to the device that will replace it, while the member is in use: first everything, window by window, then what
 * users have changed since. The last part is copied and the devices are exchanged while the volume is quiesced.
 */
export class ReplaceTask implements ProcessStep {
  readonly #array: SyncHost;
  readonly #process: RunningProcess;
  readonly #pool: ReplenishedPool;
  readonly #slot: Slot;
  readonly #replacement: Replacement;
  /** Blocks that neither the member nor the others could supply. They are bad blocks of the new device. */
  readonly #bad = new BlockRanges();
  /** Set after the exchange. The array may grow then, and the new member is treated like the others. */
  isDone = false;

  constructor(array: SyncHost, process: RunningProcess, pool: ReplenishedPool, slot: Slot, replacement: Replacement) {
    this.#array = array;
    this.#process = process;
    this.#pool = pool;
    this.#slot = slot;
    this.#replacement = replacement;
  }

  isNeeded(start: number, end: number): boolean {
    const { from, to } = this.#array.memberRange(start, end);
    return this.#array.bitmap?.isAll(RegionState.Unwritten, from, to - from) !== true;
  }

  async run(start: number, end: number): Promise<void> {
    this.#mustHaveSums();
    const { from, to } = this.#array.memberRange(start, end);
    await this.#copy(from, to);
    if (!this.#array.badBlocks.isRecorded) await this.#array.metadata.update();
  }

  async finish(): Promise<void> {
    for (let pass = 0; pass < mostPasses && this.#replacement.changedChunks > fewChunks; pass++) {
      for (let left = this.#replacement.changedChunks; left > 0; left--) {
        this.#process.throwIfStopped();
        await this.#copyNextChanged();
      }
    }
    // Written now, so that little is left to write while the volume is quiesced.
    await this.#writeSums();
    const { bdev } = this.#array;
    if (bdev === null) throw new Error(`array ${this.#array.name} is not online`);
    const range = await quiesced(bdev, 0, bdev.numBlocks);
    this.#array.holdRepairs();
    this.#array.io.holdFlushes();
    try {
      await this.#array.repairsIdle();
      while (this.#replacement.changedChunks > 0) await this.#copyNextChanged();
      await this.#writeSums();
      await this.#newIo(IoType.Flush, 0, this.#slot.dataSize, -1);
      // The new member's journal is empty, so everything that journal entries stand for must be on stable media.
      const { membership } = this.#array;
      for (const other of this.#array.slots) if (other.isInSync) await flushMember(this.#array, other, 'a flush failed');
      if (this.#array.membership !== membership) throw new Error('a member that could not be flushed was removed');
      await this.#changePlaces();
    } finally {
      this.#array.io.releaseFlushes();
      this.#array.releaseRepairs();
      bdev.unquiesce(range);
    }
  }

  /** Nothing would show that blocks without their checksums are wrong. */
  #mustHaveSums(): void {
    const { name } = this.#replacement.descriptor.bdev;
    if (this.#replacement.hasLostSums) throw new Error(`checksums of ${name} could not be read back or written`);
  }

  /** The superblock that makes the new device current must be true of its checksums too. */
  async #writeSums(): Promise<void> {
    await this.#replacement.sums?.writeAll();
  }

  /**
   * Exchanges the devices. No write is in flight, and none is acknowledged before the superblocks name the new member, so after
   * a crash either device is current.
   */
  async #changePlaces(): Promise<void> {
    const slot = this.#slot;
    const { metadata } = this.#array;
    // There is no await between this and #take.
    await this.#whenStill();
    this.#mustHaveSums();
    if (!this.#isIn() || slot.descriptor === null) throw new Error('the member to replace was removed');
    const { bdev } = this.#replacement.descriptor;
    const { name, uuid, descriptor, sums, dataOffset, foundSeqNumber, hasLostFlush, isUnsteady, readPreference } = slot;
    const before = { name, uuid, descriptor, sums, dataOffset, foundSeqNumber, hasLostFlush, isUnsteady, readPreference };
    const { badBlocks } = this.#array;
    const badBefore = [...badBlocks.rangesOf(slot.index)];
    const damagedBefore = badBlocks.damagedIn(slot.index, 0, Infinity);
    this.#take({
      name: bdev.name,
      uuid: bdev.uuid,
      descriptor: this.#replacement.descriptor,
      sums: this.#replacement.sums,
      dataOffset: this.#replacement.dataOffset,
      foundSeqNumber: 0,
      hasLostFlush: false,
      isUnsteady: false,
      readPreference: 'normal',
    });
    try {
      // After a crash either device may be the member, so the list has the bad blocks of both. Those of the old device are
      // removed later.
      for (const { start, end } of this.#bad.list()) this.#array.markBad(slot.index, start, end - start);
      await this.#array.bitmap?.writeAll();
      await this.#array.metadata.update();
      if (!this.#isIn()) throw new Error('the new member failed at once');
    } catch (error) {
      while (!metadata.isIdle()) await metadata.whenIdle();
      if (this.#isIn()) {
        // Some members may have recorded the new device. No write is acknowledged until all name the old one again.
        this.#take(before);
        badBlocks.replace(slot.index, badBefore);
        for (const { start, end } of damagedBefore) badBlocks.noteDamage(slot.index, start, end - start);
        // The old member lacks the pages of the map that only the new one was given. If it cannot be written, it is failed.
        await this.#array.bitmap?.writeAll().catch(() => undefined);
        await this.#array.recordAgain();
      } else {
        await before.sums?.close();
        before.descriptor.close();
      }
      throw error;
    }
    slot.noteReplaced({ name: before.name ?? '', uuid: before.uuid, serial: before.descriptor.bdev.serial });
    this.isDone = true;
    this.#array.badBlocks.replace(slot.index, this.#bad.list());
    // If that fails, the list contains too many blocks until the next update.
    if (!this.#array.badBlocks.isRecorded) await this.#array.metadata.update().catch(() => undefined);
    for (const { start, end } of this.#bad.list()) this.#process.noteUnreadable(slot.index, start, end - start, true);
    await before.sums?.close();
    await this.#clearOld(before.descriptor);
    before.descriptor.close();
  }

  /**
   * Clears the old member's superblock. It might say that the device is the array's only member, which must not start by
   * itself.
   */
  async #clearOld(descriptor: BdevDescriptor): Promise<void> {
    try {
      await this.#array.store?.clear(descriptor);
    } catch (error) {
      this.#array.log.error(
        { ...this.#array.logFields(this.#slot), bdev: descriptor.bdev.name, err: error },
        'the superblock of the replaced member could not be cleared: wipe it before it is used again',
      );
    }
  }

  /**
   * Resolves in a turn in which nothing of the array is in flight on the two devices, and no superblock update, which must not
   * mix their records. What the old member answered later would be judged and counted as an answer of the new one. A page of
   * checksums that it gave up later would fail nobody, and it could not read its pages if it were given back its place.
   */
  async #whenStill(): Promise<void> {
    const slot = this.#slot;
    const { metadata } = this.#array;
    const paths = [slot.sums, this.#replacement.sums];
    while (!metadata.isIdle() || slot.partsInFlight > 0 || paths.some((path) => path?.isIdle === false)) {
      await metadata.whenIdle();
      await slot.whenDrained();
      for (const path of paths) await path?.whenIdle();
    }
  }

  #isIn(): boolean {
    return this.#slot.isInSync;
  }

  #take(member: MemberDevice): void {
    this.#slot.exchange(member);
    dropDuplicateUuid(this.#array.slots, this.#slot);
    this.#array.membershipChanged();
  }

  async #copyNextChanged(): Promise<void> {
    const from = this.#replacement.next();
    if (from < 0) return;
    const to = Math.min(from + this.#replacement.chunkBlocks, this.#slot.dataSize);
    const { arrayBlocks, memberBlocks } = this.#array.stripe();
    const start = (from / memberBlocks) * arrayBlocks;
    const end = Math.min(Math.ceil(to / memberBlocks) * arrayBlocks, this.#array.numBlocks);
    const { bdev } = this.#array;
    if (bdev === null) throw new Error(`array ${this.#array.name} is not online`);
    const range = await quiesced(bdev, start, end - start);
    try {
      await this.#array.bitmap?.whenZeroed(from, to - from);
      this.#replacement.clear(from);
      await this.#copy(from, to);
    } finally {
      bdev.unquiesce(range);
    }
  }

  /** Copies blocks, which are quiesced. I/O that changes them later marks them as changed. */
  async #copy(from: number, to: number): Promise<void> {
    const array = this.#array;
    const most = this.#pool.slotBytes / array.blockSize;
    for (let at = from, count; at < to; at += count) {
      if (!this.#slot.isInSync) throw new Error('the member to replace was removed');
      const atMost = Math.min(most, to - at);
      count = array.bitmap?.withinRegion(at, atMost) ?? atMost;
      if (array.bitmap?.has(RegionState.Unwritten, at, count) === true) continue;
      const addr = this.#pool.get();
      if (addr < 0) throw new Error('a replacement ran out of buffers');
      try {
        await this.#salvage(at, count, addr);
      } finally {
        this.#pool.put(addr);
      }
    }
  }

  #salvage(at: number, count: number, addr: number): Promise<void> {
    const array = this.#array;
    return salvage(array, at, count, {
      read: (offset, blocks) => this.#read(offset, blocks, addr),
      write: async (offset, blocks) => {
        await this.#newIo(IoType.Write, offset, blocks, addr);
        this.#bad.remove(offset, offset + blocks);
      },
      onLost: async (offset, blocks) => {
        this.#process.throwIfStopped();
        await listLost(array, sourcesOf(array, this.#slot.index, offset), blocks, addr);
        this.#bad.add(offset, offset + blocks);
      },
    });
  }

  async #read(at: number, count: number, addr: number): Promise<void> {
    try {
      await memberIo(this.#array, this.#slot, IoType.Read, at, count, addr);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      // The member may be replaced because it is unreadable. The other members have the data.
      await reconstructInto(this.#array, this.#slot.index, at, count, addr);
    }
  }

  #newIo(type: IoType, offset: number, count: number, addr: number): Promise<void> {
    const { data, descriptor, dataOffset } = this.#replacement;
    const { ios } = this.#array.registry;
    return new Promise((resolve, reject) => {
      if (!descriptor.isOpen) {
        reject(new Error('the replacement device was removed'));
        return;
      }
      const io = ios.get();
      io.type = type;
      io.offsetBlocks = dataOffset + offset;
      io.numBlocks = count;
      io.addr = addr;
      io.owner = {
        onIoDone: (done: BdevIo) => {
          const { status } = done;
          ios.put(done);
          if (status === Status.Ok) resolve();
          else
            reject(
              BdevError.fromStatus(
                status,
                `array ${this.#array.name}: ${descriptor.bdev.name}, the new member of slot ${this.#slot.index}`,
              ),
            );
        },
      };
      data.submit(io);
    });
  }
}
