import type { RaidArray } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import { metadataAreas } from '../metadata-areas.js';
import type { VolumeModel } from '../model.js';
import type { PlanItem } from '../plan-items.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';
import type { Range } from './leniency.js';

/** Size of a journal slot, in sectors. */
const placeSectors = (32 * 1024) / sectorBytes;
const [journalFrom, journalEnd] = metadataAreas.journal.map((kib) => (kib * 1024) / sectorBytes) as [number, number];

/** The parts of a run that are needed here. */
export interface JournalingRun {
  readonly world: World;
  readonly model: VolumeModel;
  readonly coverage: Coverage;
  readonly disks: readonly SimDisk[];
  readonly leniency: { forgive(start: number, end: number): void };
  array(): RaidArray | undefined;
}

/**
 * Tracks journal entries that a disk has lost or that were corrupted; each is on one member only. An entry is not needed while
 * the members of its stripe are consistent. If a crash interrupts writes there, or undoes unstable writes on some members,
 * nothing says any more what the absent member held: errors are then allowed in that stripe, and in no other.
 */
export class LostEntries {
  readonly #run: JournalingRun;
  /** Stripes whose entries are lost and would be needed after a crash, in blocks of the volume. */
  #lost: Range[] = [];
  /** Disks without the mark in their journal that says which entries are not valid any more. */
  readonly #unmarked = new Set<SimDisk>();
  /** Stripes that the crash may have torn; null while a process runs. */
  #torn: Range[] | null = null;

  constructor(run: JournalingRun) {
    this.#run = run;
  }

  /** The disk loses a write to these sectors; `bytes` is its beginning. */
  lostWrite(disk: SimDisk, firstSector: number, bytes: Uint8Array): void {
    if (firstSector >= journalFrom && firstSector < journalEnd) this.#lose(disk, bytes);
  }

  /** These sectors of the disk are about to be overwritten. */
  spoilt(disk: SimDisk, firstSector: number, numSectors: number): void {
    for (let place = journalFrom; place < journalEnd; place += placeSectors) {
      if (place >= firstSector + numSectors || firstSector >= place + placeSectors) continue;
      const bytes = new Uint8Array(sectorBytes);
      disk.media.read(bytes, 0, place * sectorBytes, sectorBytes);
      this.#lose(disk, bytes);
    }
  }

  /** A user is about to write. Entries are no longer needed where earlier writes are on stable media. */
  beforeWrite(): void {
    this.#lost = this.#lost.filter((range) => this.#isPending(range) || this.#mayTear(range, true));
  }

  /** The process is about to end, or the power is about to fail. */
  beforeCrash(how: (PlanItem & { kind: 'restart' })['how']): void {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined || how === 'stop') return;
    const { arrayBlocks } = array.stripe();
    const stripes = new Set<number>();
    for (const sector of this.#run.model.touched)
      stripes.add(Math.floor((sector * sectorBytes) / array.blockSize / arrayBlocks));
    this.#torn = [...stripes]
      .map((stripe) => ({ start: stripe * arrayBlocks, end: (stripe + 1) * arrayBlocks }))
      .filter((range) => this.#mayTear(range, how === 'power'));
    for (const range of this.#lost) this.#forgive(range);
    for (const disk of this.#unmarked) this.#forgiveAll(disk);
    // After a power failure all members agree on what is left, unlike when only the process ends.
    if (how === 'power') this.#lost = [];
  }

  /** A new process has started. */
  booted(): void {
    this.#torn = null;
    this.#unmarked.clear();
  }

  /** Records a lost entry, if `bytes` is the beginning of one. */
  #lose(disk: SimDisk, bytes: Uint8Array): void {
    const array = this.#run.array();
    const entry = rangeOf(bytes);
    if (entry === null) return;
    if (entry.start === entry.end) {
      if (this.#torn === null) this.#unmarked.add(disk);
      else this.#forgiveAll(disk);
      return;
    }
    if (this.#torn !== null) {
      this.#forgive(entry);
      return;
    }
    if (array?.currentGeometry?.stripe === undefined || array.numInSync === array.numSlots) return;
    const { arrayBlocks } = array.stripe();
    const start = Math.floor(entry.start / arrayBlocks) * arrayBlocks;
    const stripe = { start, end: start + arrayBlocks };
    if (!this.#isPending(stripe) && !this.#mayTear(stripe, true)) return;
    this.#run.world.trace(`== the journal has no entry any more for blocks ${entry.start} to ${entry.end - 1}`);
    this.#lost.push(stripe);
  }

  /** A start may write any entry of the disk again. */
  #forgiveAll(disk: SimDisk): void {
    this.#run.coverage.mark('a journal without its mark');
    for (let place = journalFrom; place < journalEnd; place += placeSectors) {
      const bytes = new Uint8Array(sectorBytes);
      disk.media.read(bytes, 0, place * sectorBytes, sectorBytes);
      const entry = rangeOf(bytes);
      if (entry !== null && entry.start < entry.end) this.#run.leniency.forgive(entry.start, entry.end);
    }
  }

  #forgive(lost: Range): void {
    for (const { start, end } of this.#torn ?? []) {
      if (start >= lost.end || lost.start >= end) continue;
      this.#run.coverage.mark('a torn stripe without its journal entry');
      this.#run.leniency.forgive(start, end);
    }
  }

  /** Whether a user's write to the range is in flight. */
  #isPending({ end, start }: Range): boolean {
    const perBlock = (this.#run.array()?.blockSize ?? sectorBytes) / sectorBytes;
    for (const { firstSector, numSectors } of this.#run.model.pending)
      if (firstSector < end * perBlock && start * perBlock < firstSector + numSectors) return true;
    return false;
  }

  /** Whether a member has a write to the stripe that a crash would tear or, if the power fails, undo. */
  #mayTear({ end, start }: Range, isPower: boolean): boolean {
    const array = this.#run.array();
    if (array?.currentGeometry?.stripe === undefined) return false;
    const perBlock = array.blockSize / sectorBytes;
    const { from, to } = array.memberRange(start, end);
    return array.slots.some(({ dataOffset, name }) => {
      const disk = this.#run.disks.find((other) => other.name === name);
      return disk?.mayTear((dataOffset + from) * perBlock, (to - from) * perBlock, isPower) ?? false;
    });
  }
}

/** Volume blocks of the entry that begins with these bytes, none for a mark; null if it is neither. */
function rangeOf(bytes: Uint8Array): Range | null {
  if (Buffer.from(bytes.buffer, bytes.byteOffset, 4).toString('latin1') !== 'RKJL') return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = Number(view.getBigUint64(56, true));
  const numBlocks = Number(view.getBigUint64(64, true));
  return numBlocks === 0 ? { start: 0, end: 0 } : { start, end: start + numBlocks };
}
