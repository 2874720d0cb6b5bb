import { areZeros, noTag, readTag, sectorBytes } from './sector.js';

/** One write, unmap or write zeroes of a client's. */
export interface WriteRecord {
  readonly tag: number;
  readonly firstSector: number;
  readonly numSectors: number;
  /** Moments count issues, acknowledgements and the like, so that of any two one is earlier. */
  readonly issuedAt: number;
  /** When it was acknowledged or failed; infinity while in flight. */
  doneAt: number;
  isAcked: boolean;
  /** Acknowledged, it may have done nothing: an unmap. */
  readonly isOptional: boolean;
  /** A device dropped its cache while this was under way: what it had taken of it by then is not there any more. */
  mayBeDropped: boolean;
}

/** A value that a sector may have. */
interface Candidate {
  readonly write: WriteRecord;
  /** From this moment on no read that starts may see it. */
  deadAt: number;
  /** On stable media: a power cut does not take it back. */
  isStable: boolean;
  /** A flush has covered what replaced it: a power cut does not bring it back. */
  isGone: boolean;
}

/** What a read that was checked turned out to hold, where that is wrong. */
export interface Violation {
  sector: number;
  found: number;
  allowed: number[];
}

/**
 * What each sector of a volume may hold. A read may return what the newest write that was acknowledged before it started put
 * there, or any write that was not over by then. A power cut brings back what no flush has covered; what is read after it stays.
 */
export class VolumeModel {
  readonly #sectors = new Map<number, Candidate[]>();
  /** In a copy of a model: the original's candidates, for what is settled there and untouched here. */
  #settled: Map<number, Candidate[]> | null = null;
  /** Sectors with more than one candidate, or one that is not stable. */
  readonly #unsettled = new Set<number>();
  readonly #inFlight = new Set<WriteRecord>();
  readonly #doubted: { firstSector: number; endSector: number }[] = [];
  #moment = 1;
  /** When a device last dropped its cache: what a read that started before has seen may be gone since. */
  #droppedAt = 0;
  #nextTag = 1;
  readonly #original: WriteRecord = {
    tag: 0,
    firstSector: 0,
    numSectors: Number.MAX_SAFE_INTEGER,
    issuedAt: 0,
    doneAt: 0,
    isAcked: true,
    isOptional: false,
    mayBeDropped: false,
  };

  /** Sectors that something was ever written to. */
  get touched(): IterableIterator<number> {
    return this.#sectors.keys();
  }

  /** Writes that have not been answered. */
  get pending(): IterableIterator<WriteRecord> {
    return this.#inFlight.values();
  }

  /** A tag that no write had before. */
  newTag(): number {
    return this.#nextTag++;
  }

  /** A moment that is now: for reads and flushes that start. */
  now(): number {
    return ++this.#moment;
  }

  /** A write is about to be submitted. Tag 0 is zeros. */
  issue(firstSector: number, numSectors: number, tag: number, isOptional = false): WriteRecord {
    const write: WriteRecord = {
      tag,
      firstSector,
      numSectors,
      issuedAt: this.now(),
      doneAt: Infinity,
      isAcked: false,
      isOptional,
      mayBeDropped: false,
    };
    this.#inFlight.add(write);
    for (let sector = firstSector; sector < firstSector + numSectors; sector++) {
      let list = this.#sectors.get(sector);
      if (list === undefined) {
        const settled = this.#settled?.get(sector)?.map((candidate) => ({ ...candidate }));
        list = settled ?? [{ write: this.#original, deadAt: Infinity, isStable: true, isGone: false }];
        this.#sectors.set(sector, list);
      }
      list.push({ write, deadAt: Infinity, isStable: false, isGone: false });
      this.#unsettled.add(sector);
    }
    return write;
  }

  /** It was acknowledged. `isDurable`: it had forced unit access. */
  acked(write: WriteRecord, isDurable: boolean): void {
    write.doneAt = this.now();
    // As if it had been acknowledged just before: flushes that come later fail.
    const isDropped = write.mayBeDropped && !isDurable;
    write.isAcked = !isDropped;
    this.#inFlight.delete(write);
    if (write.isOptional || isDropped) return;
    for (let sector = write.firstSector; sector < write.firstSector + write.numSectors; sector++) {
      for (const candidate of this.#list(sector)) {
        if (candidate.write === write) {
          if (isDurable) candidate.isStable = true;
        } else if (candidate.write.doneAt < write.issuedAt) {
          candidate.deadAt = Math.min(candidate.deadAt, write.doneAt);
          if (isDurable) candidate.isGone = true;
        }
      }
    }
  }

  /** It was answered with an error: it may have happened, or not, sector by sector. */
  failed(write: WriteRecord): void {
    write.doneAt = this.now();
    this.#inFlight.delete(write);
  }

  /** A flush succeeded that started at the moment `startedAt`. */
  flushed(startedAt: number): void {
    for (const sector of this.#unsettled) {
      const list = this.#list(sector);
      for (const newer of list) {
        const { write } = newer;
        if (!write.isAcked || write.doneAt > startedAt || write.isOptional) continue;
        newer.isStable = true;
        for (const candidate of list) if (candidate.write.doneAt < write.issuedAt) candidate.isGone = true;
      }
      this.#tidy(sector, list);
    }
  }

  /** No flush from now on says anything of what has been written so far. */
  doubt(): void {
    for (const sector of this.#unsettled) for (const { write } of this.#list(sector)) write.isAcked = false;
  }

  /** A device has dropped what no flush has covered, and the array cannot do without it: older values may be there again. */
  dropped(): void {
    this.#droppedAt = this.now();
    for (const write of this.#inFlight) write.mayBeDropped = true;
    for (const sector of this.#unsettled) {
      for (const candidate of this.#list(sector)) {
        if (candidate.isGone) continue;
        candidate.deadAt = Infinity;
        // A later flush says nothing about which of them it is.
        candidate.write.isAcked = false;
      }
    }
  }

  /** The volume is a new one: it holds zeros, and nothing is in flight. */
  forget(): void {
    this.#sectors.clear();
    this.#settled = null;
    this.#unsettled.clear();
    this.#inFlight.clear();
    this.#doubted.length = 0;
  }

  /** What may be read, as it is now. What happens to the copy says nothing of this one, which must not change meanwhile. */
  copy(): VolumeModel {
    const copy = new VolumeModel();
    const writes = new Map<WriteRecord, WriteRecord>([[this.#original, copy.#original]]);
    const copyOf = (write: WriteRecord): WriteRecord => {
      let made = writes.get(write);
      if (made === undefined) writes.set(write, (made = { ...write }));
      return made;
    };
    copy.#settled = this.#sectors;
    for (const sector of this.#unsettled) {
      copy.#sectors.set(
        sector,
        this.#list(sector).map(({ deadAt, isGone, isStable, write }) => ({ write: copyOf(write), deadAt, isStable, isGone })),
      );
      copy.#unsettled.add(sector);
    }
    for (const write of this.#inFlight) copy.#inFlight.add(copyOf(write));
    copy.#doubted.push(...this.#doubted);
    copy.#moment = this.#moment;
    copy.#droppedAt = this.#droppedAt;
    copy.#nextTag = this.#nextTag;
    return copy;
  }

  /** What these sectors hold is not known any more. */
  doubtValues(firstSector: number, numSectors: number): void {
    this.#doubted.push({ firstSector, endSector: firstSector + numSectors });
  }

  /** As {@link doubtValues}, for those of the sectors that were never written. */
  doubtNeverWritten(firstSector: number, endSector: number): void {
    let from = firstSector;
    for (let sector = firstSector; sector <= endSector; sector++) {
      if (sector < endSector && this.#listOf(sector) === undefined) continue;
      if (sector > from) this.doubtValues(from, sector - from);
      from = sector + 1;
    }
  }

  /** As {@link doubtValues}, if a write to any of them may not be on stable media. */
  doubtUnsettled(firstSector: number, endSector: number): void {
    for (let sector = firstSector; sector < endSector; sector++) {
      if (!this.#unsettled.has(sector)) continue;
      this.doubtValues(firstSector, endSector - firstSector);
      return;
    }
  }

  /** Whether it is not known of one of these sectors what it holds. */
  isDoubted(firstSector: number, numSectors: number): boolean {
    return this.#doubted.some((range) => range.firstSector < firstSector + numSectors && firstSector < range.endSector);
  }

  /** What was in doubt is certain again. */
  believe(): void {
    this.#doubted.length = 0;
  }

  /** The process died; devices keep what they were given. What was in flight has happened or not. */
  killed(): void {
    for (const write of [...this.#inFlight]) this.failed(write);
    this.#inFlight.clear();
  }

  /** The power failed: of each sector any value may be left that no flush has covered. */
  powerCut(): void {
    this.killed();
    for (const sector of this.#unsettled) {
      const list = this.#list(sector);
      for (const candidate of list) {
        if (candidate.isGone) continue;
        candidate.deadAt = Infinity;
        candidate.isStable = true;
        // Which of them it is was settled by the power cut: a later flush says nothing about it.
        candidate.write.isAcked = false;
      }
      this.#tidy(sector, list);
    }
  }

  /**
   * A read that started at the moment `startedAt` has returned `words`. Gives the first sector that holds what it must not;
   * null if all is well. If `holds`, what was seen with no write in flight, and no cache dropped meanwhile, is what the sector holds
   * from now on.
   */
  check(
    firstSector: number,
    numSectors: number,
    words: Int32Array,
    firstWord: number,
    startedAt: number,
    holds = true,
  ): Violation | null {
    const isDoubted = this.isDoubted(firstSector, numSectors);
    let lookedAt = 0;
    for (let i = 0; i < numSectors; i++) {
      const sector = firstSector + i;
      const at = firstWord + (i * sectorBytes) / 4;
      const list = this.#listOf(sector);
      if (list === undefined && i >= lookedAt) {
        // A run of sectors that were never written is looked at as a whole first.
        lookedAt = i + 1;
        while (lookedAt < numSectors && this.#listOf(firstSector + lookedAt) === undefined) lookedAt++;
        if (areZeros(words, at, lookedAt - i)) {
          i = lookedAt - 1;
          continue;
        }
      }
      if (isDoubted && this.isDoubted(sector, 1)) continue;
      const tag = readTag(words, at, sector);
      if (list === undefined) {
        if (tag !== 0) return { sector, found: tag, allowed: [0] };
        continue;
      }
      const seen =
        tag === noTag ? undefined : list.findLast((candidate) => candidate.write.tag === tag && candidate.deadAt > startedAt);
      if (seen === undefined) {
        const allowed = list.filter(({ deadAt }) => deadAt > startedAt).map(({ write }) => write.tag);
        return { sector, found: tag, allowed };
      }
      if (holds && list.length > 1) this.#collapse(sector, list, tag, startedAt);
    }
    return null;
  }

  /** With no write in flight during the read, and no cache dropped meanwhile, the sector holds this, and will. */
  #collapse(sector: number, list: Candidate[], tag: number, startedAt: number): void {
    if (startedAt < this.#droppedAt) return;
    let settledAt = 0;
    for (const { write, deadAt } of list) {
      if (deadAt !== Infinity) continue;
      if (write.doneAt >= startedAt) return;
      settledAt = Math.max(settledAt, write.doneAt);
    }
    const isStable = list.every((candidate) => candidate.isStable || candidate.isGone);
    for (const candidate of list) {
      if (candidate.write.tag === tag || candidate.deadAt !== Infinity) continue;
      candidate.deadAt = settledAt + 0.5;
      if (isStable) candidate.isGone = true;
    }
    this.#tidy(sector, list);
  }

  /** Drops what no read and no power cut can show any more. */
  #tidy(sector: number, list: Candidate[]): void {
    if (this.#oldestRead === Infinity) {
      let kept = 0;
      for (const candidate of list) if (!candidate.isGone || candidate.deadAt === Infinity) list[kept++] = candidate;
      list.length = kept;
    }
    if (list.length === 1 && list[0]?.isStable === true) this.#unsettled.delete(sector);
  }

  /** Reads in flight: while there are any, nothing is dropped that they may return. */
  #reads = 0;
  #oldestRead = Infinity;

  readStarted(): number {
    this.#reads++;
    this.#oldestRead = 0;
    return this.now();
  }

  readEnded(): void {
    if (--this.#reads === 0) this.#oldestRead = Infinity;
  }

  /** The process with all its reads is gone. */
  readsForgotten(): void {
    this.#reads = 0;
    this.#oldestRead = Infinity;
  }

  /** Of a sector that something was written to, here or before the copy was made. */
  #listOf(sector: number): Candidate[] | undefined {
    return this.#sectors.get(sector) ?? this.#settled?.get(sector);
  }

  #list(sector: number): Candidate[] {
    return this.#sectors.get(sector) ?? [];
  }
}
