import type { RaidArray } from '@raidkit/core';
import { metadataAreas, sectorsInUse } from '../metadata-areas.js';
import type { LieKind, LiePlace, PlanItem, SimPlan } from '../plan-items.js';
import { sectorBytes } from '../sector.js';
import type { SimDisk } from '../sim-disk.js';
import type { World } from '../world.js';
import type { LostEntries } from './lost-entries.js';

/** By which a member is known. */
function isIdentity(name: string): boolean {
  return ['superblock', 'second superblock', 'header', 'other header'].includes(name);
}

type Item = PlanItem & { kind: 'metadataLie' };

/** The run of which it is kept. */
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
  /** Data of the disk is not what it should be. `isLost`: it is what it was. */
  dataLied(disk: SimDisk, firstSector: number, numSectors: number, isLost: boolean): void;
}

/**
 * Disks that lie about what is recorded on them: superblocks, headers, the write-intent bitmap, the lists, the journal, pages of checksums.
 * As long as not all of it has been written anew such a disk counts as one that is lost: the others have everything, and none of
 * them is lost besides. Nothing is forgiven for it, but for the data that a misdirected write lands on.
 */
export class MetadataLies {
  readonly #run: MetadataLyingRun;
  /** When each of them last lied. */
  readonly #liedAt = new Map<SimDisk, number>();
  /** What each has lied about by which it is known. */
  readonly #identity = new Map<SimDisk, Set<string>>();
  #atCrash: Item[] = [];

  constructor(run: MetadataLyingRun) {
    this.#run = run;
  }

  /** The disk lies, or will: it counts as lost. */
  isSuspect(disk: SimDisk): boolean {
    const willLie =
      disk.faults.armedLies.some(({ left }) => left > 0) || this.#atCrash.some((item) => this.#diskOf(item) === disk);
    return willLie || this.#liedAt.has(disk);
  }

  get suspects(): SimDisk[] {
    return [...this.#liedAt.keys()];
  }

  /** A disk begins to lie, if the others hold everything, or nothing else does. */
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
      else run.lostEntries.lostWrite(first, bytes);
      this.#lied(disk, first, count, isOverwritten ? 'misdirected' : 'lost');
    };
    const isOnce = item.where === 'data';
    disk.faults.armedLies.push({ ...area, onto, left: isOnce ? 1 : item.count });
  }

  /**
   * Some member may not be known by what is left on it, or not to be current: its first superblock is overwritten, or it has lied
   * about several of superblock, second superblock and headers. Then it counts as lost, in a crash, too.
   */
  get mayCostMember(): boolean {
    return [...this.#identity.values()].some((lies) => lies.size > 1 || lies.has('overwritten'));
  }

  /** Called while no process uses the disks. */
  atCrash(): void {
    for (const item of this.#atCrash.splice(0)) this.#corrupt(item);
  }

  /** Bits that were to turn over stay as they are. */
  calm(): void {
    this.#atCrash = [];
  }

  /** The array has come up, with all records written since then, whichever disks are members: what was lied about before is as it should be. */
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
      if (!isIdentity(name) || firstSector >= 2 * endKib || firstSector + numSectors <= 2 * fromKib) continue;
      identity.add(how === 'misdirected' && name === 'superblock' ? 'overwritten' : `${name} ${how}`);
    }
    const { from } = this.#areaOf(disk, 'data') ?? { from: run.reservedBytes / sectorBytes };
    const first = Math.max(firstSector, from);
    const count = firstSector + numSectors - first;
    if (count > 0) run.dataLied(disk, first, count, how === 'lost');
  }

  /** What it lands on: something that is there, if there is anything. */
  #ontoOf(disk: SimDisk, { onto, place }: Item): number {
    const area = this.#areaOf(disk, onto) ?? { from: 0, end: 1 };
    const used = onto === 'data' ? [] : sectorsInUse(disk, area.from, area.end);
    const sector = used[Math.floor(place * used.length)] ?? area.from + Math.floor(place * (area.end - area.from));
    const perBlock = disk.blockSize / sectorBytes;
    return Math.floor(sector / perBlock) * perBlock;
  }

  /** In sectors of the disk; null if it has none. */
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
