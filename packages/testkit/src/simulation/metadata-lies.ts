import type { RaidArray } from '@raidkit/core';
import { metadataAreas, sectorsInUse } from '../metadata-areas.js';
import type { LieKind, LiePlace, PlanItem, SimPlan } from '../plan-items.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';
import type { LostEntries } from './lost-entries.js';

/** Whether a member is identified by this area. */
function isIdentity(name: string): boolean {
  return ['superblock', 'second superblock', 'header', 'other header'].includes(name);
}

type Item = PlanItem & { kind: 'metadataLie' };

/** Pages that a member lacks make it stale unless a header says that it had them. */
const pages = 'write-intent bitmap';

/** The parts of a run that are needed here. */
export interface MetadataLyingRun {
  readonly world: World;
  readonly plan: SimPlan;
  readonly disks: readonly SimDisk[];
  readonly standing: { mayLose(disk: SimDisk): boolean };
  readonly isTolerant: boolean;
  readonly isRedundant: boolean;
  readonly reservedBytes: number;
  readonly lostEntries: Pick<LostEntries, 'lostWrite' | 'spoilt'>;
  array(): RaidArray | undefined;
  disk(index: number): SimDisk;
  mark(what: string): void;
  /** Data of the disk is wrong. `isLost`: it is the old data. */
  dataLied(disk: SimDisk, firstSector: number, numSectors: number, isLost: boolean): void;
}

/**
 * Tracks silent corruption of metadata: superblocks, headers, the write-intent bitmap, lists, the journal, pages of checksums.
 * Until all of it is rewritten such a disk counts as lost: the others have everything, and none of them is lost as well.
 * Nothing else is excused, except the data that a misdirected write overwrites.
 */
export class MetadataLies {
  readonly #run: MetadataLyingRun;
  /** When each disk's metadata was last corrupted. */
  readonly #liedAt = new Map<SimDisk, number>();
  /** Corrupted areas of each disk that identify it as a member. */
  readonly #identity = new Map<SimDisk, Set<string>>();
  #atCrash: Item[] = [];

  constructor(run: MetadataLyingRun) {
    this.#run = run;
  }

  /** Whether the disk's metadata is or will be corrupted, so that it counts as lost. */
  isSuspect(disk: SimDisk): boolean {
    const willLie =
      disk.faults.armedLies.some(({ left }) => left > 0) || this.#atCrash.some((item) => this.#diskOf(item) === disk);
    return willLie || this.#liedAt.has(disk);
  }

  get suspects(): SimDisk[] {
    return [...this.#liedAt.keys()];
  }

  /** Corrupts a disk's metadata if the others hold everything, or if there is no redundancy anyway. */
  lie(item: Item): void {
    const run = this.#run;
    const disk = this.#diskOf(item);
    if (run.isTolerant || (run.isRedundant && !run.standing.mayLose(disk))) return;
    const area = this.#areaOf(disk, item.where);
    if (area === null) return;
    run.mark(`lie about the ${item.where}: ${item.how}`);
    run.world.trace(`== ${disk.name}: ${item.how}, ${item.where}, ${item.isAtCrash ? 'at the next crash' : 'now'}`);
    if (item.how === 'corrupt') {
      if (item.isAtCrash) this.#atCrash.push(item);
      else this.#corrupt(item);
      return;
    }
    const onto = item.how === 'lost' ? null : this.#ontoOf(disk, item);
    disk.onAnyLie = (first, count, isOverwritten, bytes) => {
      if (isOverwritten) run.lostEntries.spoilt(disk, first, count);
      else run.lostEntries.lostWrite(disk, first, bytes);
      this.#lied(disk, first, count, isOverwritten ? 'misdirected' : 'lost');
    };
    const isOnce = item.where === 'data';
    disk.faults.armedLies.push({ ...area, onto, left: isOnce ? 1 : item.count });
  }

  /**
   * Whether a member may not be recognized, or not as current, by its remaining metadata: its first superblock was overwritten,
   * or several of superblock, second superblock and headers are corrupted, or one of them and pages of the write-intent bitmap. It
   * then counts as lost, even in a crash.
   */
  get mayCostMember(): boolean {
    const isIn = (lie: string): boolean => !lie.startsWith(pages);
    return [...this.#identity.values()].some((lies) => (lies.size > 1 && [...lies].some(isIn)) || lies.has('overwritten'));
  }

  /** Flips the bits that are planned for a crash; called while no process uses the disks. */
  atCrash(): void {
    for (const item of this.#atCrash.splice(0)) this.#corrupt(item);
  }

  /** Cancels planned bit flips. */
  calm(): void {
    this.#atCrash = [];
  }

  /** The array has started and rewritten all metadata on every disk since then: earlier corruption is gone. */
  writtenAnew(since: number): void {
    for (const [disk, at] of this.#liedAt) {
      if (at >= since) continue;
      this.#liedAt.delete(disk);
      this.#identity.delete(disk);
    }
  }

  #diskOf({ disk }: Item): SimDisk {
    return this.#run.disk(disk);
  }

  #corrupt(item: Item): void {
    const disk = this.#diskOf(item);
    const area = this.#areaOf(disk, item.where);
    const sectors = area === null ? [] : sectorsInUse(disk, area.from, area.end);
    const sector = sectors[Math.floor(item.place * sectors.length)];
    if (sector === undefined) return;
    const { onLie } = disk;
    disk.onLie = null;
    this.#run.lostEntries.spoilt(disk, sector, 1);
    for (let i = 0; i < item.count; i++) disk.corrupt(sector, Math.floor(item.place * 1e9 + i * 1237) % (8 * sectorBytes));
    disk.onLie = onLie;
    this.#lied(disk, sector, 1, 'corrupt');
  }

  #lied(disk: SimDisk, firstSector: number, numSectors: number, how: LieKind): void {
    const run = this.#run;
    run.mark('metadata lied about');
    run.world.trace(`== ${disk.name} has lied: sectors ${firstSector} to ${firstSector + numSectors - 1}`);
    this.#liedAt.set(disk, run.world.now);
    const identity = this.#identity.get(disk) ?? new Set();
    this.#identity.set(disk, identity);
    for (const [name, [fromKib, endKib]] of Object.entries(metadataAreas)) {
      if (!(isIdentity(name) || name === pages) || firstSector >= 2 * endKib || firstSector + numSectors <= 2 * fromKib)
        continue;
      identity.add(how === 'misdirected' && name === 'superblock' ? 'overwritten' : `${name} ${how}`);
    }
    const { from } = this.#areaOf(disk, 'data') ?? { from: run.reservedBytes / sectorBytes };
    const first = Math.max(firstSector, from);
    const count = firstSector + numSectors - first;
    if (count > 0) run.dataLied(disk, first, count, how === 'lost');
  }

  /** Sector to which a write is misdirected: one that is in use, if there is any. */
  #ontoOf(disk: SimDisk, { onto, place }: Item): number {
    const area = this.#areaOf(disk, onto) ?? { from: 0, end: 1 };
    const used = onto === 'data' ? [] : sectorsInUse(disk, area.from, area.end);
    const sector = used[Math.floor(place * used.length)] ?? area.from + Math.floor(place * (area.end - area.from));
    const perBlock = disk.blockSize / sectorBytes;
    return Math.floor(sector / perBlock) * perBlock;
  }

  /** An area's bounds in sectors of the disk; null if the disk has no such area. */
  #areaOf(disk: SimDisk, place: LiePlace): { from: number; end: number } | null {
    if (place !== 'data' && place !== 'checksums') {
      const [fromKib, endKib] = metadataAreas[place];
      return { from: (fromKib * 1024) / sectorBytes, end: (endKib * 1024) / sectorBytes };
    }
    const array = this.#run.array();
    const slot = array?.slots.find(({ isInSync, name }) => name === disk.name && isInSync);
    if (array === undefined || slot === undefined) return null;
    const perBlock = disk.blockSize / sectorBytes;
    if (place === 'data') return { from: slot.dataOffset * perBlock, end: (slot.dataOffset + slot.dataSize) * perBlock };
    if (array.sums === null) return null;
    return { from: (slot.dataOffset + array.sums.areaAt) * perBlock, end: disk.numBlocks * perBlock };
  }
}
