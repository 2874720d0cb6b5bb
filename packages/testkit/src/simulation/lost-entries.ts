import type { RaidArray } from '@raidkit/core';
import type { Coverage } from '../coverage.js';
import { metadataAreas } from '../metadata-areas.js';
import type { VolumeModel } from '../model.js';
import type { PlanItem } from '../plan-items.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';
import type { Range } from './leniency.js';

/** A place of the journal, in sectors. */
const placeSectors = (32 * 1024) / sectorBytes;
const [journalFrom, journalEnd] = metadataAreas.journal.map((kib) => (kib * 1024) / sectorBytes) as [number, number];

/** The run of which it is kept. */
export interface JournalingRun {
  readonly world: World;
  readonly model: VolumeModel;
  readonly coverage: Coverage;
  readonly disks: readonly SimDisk[];
  readonly leniency: { forgive(start: number, end: number): void };
  array(): RaidArray | undefined;
}

/**
 * Entries of the journal that a disk has lost, or spoilt: each is on one member only. As long as the members agree in its stripe
 * it is not needed. If a crash cuts short what is being written there, or takes back on some of them what is not on stable media,
 * nothing tells any more what the absent member held: an error is right in that stripe then, and in no other.
 */
export class LostEntries {
  readonly #run: JournalingRun;
  /** Stripes whose entries are gone, and needed if there is a crash. Blocks of the volume. */
  #lost: Range[] = [];
  /** Stripes that the crash has left torn, perhaps; null while a process runs. */
  #torn: Range[] | null = null;

  constructor(run: JournalingRun) {
    this.#run = run;
  }

  /** The disk loses a write to these sectors, which begins with these bytes. */
  lostWrite(firstSector: number, bytes: Uint8Array): void {
    if (firstSector >= journalFrom && firstSector < journalEnd) this.#lose(bytes);
  }

  /** What is in these sectors of the disk is about to be spoilt. */
  spoilt(disk: SimDisk, firstSector: number, numSectors: number): void {
    for (let place = journalFrom; place < journalEnd; place += placeSectors) {
      if (place >= firstSector + numSectors || firstSector >= place + placeSectors) continue;
      const bytes = new Uint8Array(sectorBytes);
      disk.media.read(bytes, 0, place * sectorBytes, sectorBytes);
      this.#lose(bytes);
    }
  }

  /** A user is about to write: entries are not needed any more where what was written before is on stable media. */
  beforeWrite(): void {
    this.#lost = this.#lost.filter((range) => this.#isPending(range) || this.#mayTear(range, true));
  }

  /** The process is about to end, or the power to fail. */
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
    // What is left of it is what all members have, unless only the process ended.
    if (how === 'power') this.#lost = [];
  }

  /** A process runs again. */
  booted(): void {
    this.#torn = null;
  }

  /** `bytes`: the beginning of an entry, if it is one. */
  #lose(bytes: Uint8Array): void {
    const array = this.#run.array();
    const entry = rangeOf(bytes);
    if (entry === null) return;
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

  #forgive(lost: Range): void {
    for (const { start, end } of this.#torn ?? []) {
      if (start >= lost.end || lost.start >= end) continue;
      this.#run.coverage.mark('a torn stripe without its journal entry');
      this.#run.leniency.forgive(start, end);
    }
  }

  /** A user writes there. */
  #isPending({ end, start }: Range): boolean {
    const perBlock = (this.#run.array()?.blockSize ?? sectorBytes) / sectorBytes;
    for (const { firstSector, numSectors } of this.#run.model.pending)
      if (firstSector < end * perBlock && start * perBlock < firstSector + numSectors) return true;
    return false;
  }

  /** A member has something of the stripe that a crash would cut short, or, if the power fails, take back. */
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

/** Which blocks of the volume the entry has that begins with these bytes; null if it is none. */
function rangeOf(bytes: Uint8Array): Range | null {
  if (Buffer.from(bytes.buffer, bytes.byteOffset, 4).toString('latin1') !== 'RKJL') return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = Number(view.getBigUint64(56, true));
  return { start, end: start + Number(view.getBigUint64(64, true)) };
}
