import { areZeros, noTag, readTag, sectorBytes } from './sector.js';

/** A client's write, unmap or write zeroes. */
export interface WriteRecord {
  readonly tag: number;
  readonly firstSector: number;
  readonly numSectors: number;
  /**
   * When it was issued. Moments are logical time: each issue, acknowledgement and the like has its own, so any two are ordered.
   */
  readonly issuedAt: number;
  /** When it was acknowledged or failed; infinity while in flight. */
  doneAt: number;
  isAcked: boolean;
  /** True for an unmap: even if acknowledged, it may have done nothing. */
  readonly isOptional: boolean;
  /** A device dropped its cache while the write was in flight, so the part that was cached by then is lost. */
  mayBeDropped: boolean;
}

/** A value that a sector may hold. */
interface Candidate {
  readonly write: WriteRecord;
  /** No read that starts at this moment or later may return it. */
  deadAt: number;
  /** It is on stable media, so a power cut does not undo it. */
  isStable: boolean;
  /** A flush has covered the write that replaced it, so a power cut does not bring it back. */
  isGone: boolean;
}

/** A wrong result of a read. */
export interface Violation {
  sector: number;
  found: number;
  allowed: number[];
}

/**
 * Model of what each sector of a volume may hold. A read may return the newest write that was acknowledged before the read
 * started, or any write that was not complete by then. A power cut may bring back what no flush has covered; what is read after
 * it stays.
 */
export class VolumeModel {
  readonly #sectors = new Map<number, Candidate[]>();
  /**
   * In a copy of a model: the original's candidates, which are used for sectors that are settled there and not changed here.
   */
  #settled: Map<number, Candidate[]> | null = null;
  /** Sectors with several candidates, or one that is not stable. */
  readonly #unsettled = new Set<number>();
  readonly #inFlight = new Set<WriteRecord>();
  readonly #doubted: { firstSector: number; endSector: number }[] = [];
  #moment = 1;
  /** When a device last dropped its cache: what a read that started earlier has seen may be gone. */
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

  /** Sectors that were ever written. */
  get touched(): IterableIterator<number> {
    return this.#sectors.keys();
  }

  /** Writes in flight. */
  get pending(): IterableIterator<WriteRecord> {
    return this.#inFlight.values();
  }

  /** Returns a new, unique tag. */
  newTag(): number {
    return this.#nextTag++;
  }

  /** Returns a new moment, for reads and flushes that start now. */
  now(): number {
    return ++this.#moment;
  }

  /** Records a write that is about to be submitted. Tag 0 stands for zeros. */
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

  /** Records that the write was acknowledged. `isDurable`: it had forced unit access. */
  acked(write: WriteRecord, isDurable: boolean): void {
    write.doneAt = this.now();
    // Treated as if it had been acknowledged before the drop, after which flushes fail.
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

  /** Records that the write failed: each of its sectors may or may not have been written. */
  failed(write: WriteRecord): void {
    write.doneAt = this.now();
    this.#inFlight.delete(write);
  }

  /** Records that a flush succeeded which started at the moment `startedAt`. */
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

  /** From now on no flush makes anything stable that was written so far. */
  doubt(): void {
    for (const sector of this.#unsettled) for (const { write } of this.#list(sector)) write.isAcked = false;
  }

  /** Records that a device that the array cannot do without has dropped its unflushed cache: older values may reappear. */
  dropped(): void {
    this.#droppedAt = this.now();
    for (const write of this.#inFlight) write.mayBeDropped = true;
    for (const sector of this.#unsettled) {
      for (const candidate of this.#list(sector)) {
        if (candidate.isGone) continue;
        candidate.deadAt = Infinity;
        // A later flush does not tell which of them it is.
        candidate.write.isAcked = false;
      }
    }
  }

  /** Starts over with a new volume: it holds zeros, and nothing is in flight. */
  forget(): void {
    this.#sectors.clear();
    this.#settled = null;
    this.#unsettled.clear();
    this.#inFlight.clear();
    this.#doubted.length = 0;
  }

  /**
   * Returns a copy of the present state. Changes to the copy do not affect this model, which must not change while the copy is
   * in use.
   */
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

  /** Returns a copy of the present state that stays as it is, whatever becomes of this model. */
  snapshot(): VolumeModel {
    const copy = this.copy();
    for (const [sector, list] of this.#sectors) {
      if (this.#unsettled.has(sector)) continue;
      copy.#sectors.set(
        sector,
        list.map((candidate) => ({ ...candidate })),
      );
    }
    copy.#settled = null;
    return copy;
  }

  /** Returns to an earlier state, of which nothing is in flight any more: what was written since is gone. */
  revertTo(earlier: VolumeModel): void {
    this.forget();
    for (const [sector, list] of earlier.#sectors) this.#sectors.set(sector, list);
    for (const sector of earlier.#unsettled) this.#unsettled.add(sector);
    this.#doubted.push(...earlier.#doubted);
  }

  /** Marks the contents of these sectors as unknown. */
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

  /** Whether a write to any of these sectors may not be on stable media. */
  isUnsettled(firstSector: number, endSector: number): boolean {
    for (let sector = firstSector; sector < endSector; sector++) if (this.#unsettled.has(sector)) return true;
    return false;
  }

  /** Whether the contents of one of these sectors are unknown. */
  isDoubted(firstSector: number, numSectors: number): boolean {
    return this.#doubted.some((range) => range.firstSector < firstSector + numSectors && firstSector < range.endSector);
  }

  /** Ends all doubt about contents. */
  believe(): void {
    this.#doubted.length = 0;
  }

  /** Records that the process died. Devices keep what they were given; a write in flight may or may not have happened. */
  killed(): void {
    for (const write of [...this.#inFlight]) this.failed(write);
    this.#inFlight.clear();
  }

  /** Records a power failure: each sector may hold any value that no flush has covered. */
  powerCut(): void {
    this.killed();
    for (const sector of this.#unsettled) {
      const list = this.#list(sector);
      for (const candidate of list) {
        if (candidate.isGone) continue;
        candidate.deadAt = Infinity;
        candidate.isStable = true;
        // The power cut has settled which of them it is: a later flush does not change that.
        candidate.write.isAcked = false;
      }
      this.#tidy(sector, list);
    }
  }

  /**
   * Checks a read that started at the moment `startedAt` and returned `words`. Returns the first sector that holds a forbidden
   * value; null if there is none. If `holds`, a sector that was read with no write in flight and no cache dropped meanwhile is
   * known to hold this value from now on.
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
        // A run of sectors that were never written is compared as a whole first.
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

  /** If no write was in flight during the read and no cache was dropped meanwhile, the sector holds this value from now on. */
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

  /** Drops candidates that no read and no power cut can show any more. */
  #tidy(sector: number, list: Candidate[]): void {
    if (this.#oldestRead === Infinity) {
      let kept = 0;
      for (const candidate of list) if (!candidate.isGone || candidate.deadAt === Infinity) list[kept++] = candidate;
      list.length = kept;
    }
    if (list.length === 1 && list[0]?.isStable === true) this.#unsettled.delete(sector);
  }

  /** Number of reads in flight. While there are any, no candidate is dropped that they may return. */
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

  /** Forgets all reads in flight, because their process is gone. */
  readsForgotten(): void {
    this.#reads = 0;
    this.#oldestRead = Infinity;
  }

  /** Candidates of a sector that was written here or before the copy was made. */
  #listOf(sector: number): Candidate[] | undefined {
    return this.#sectors.get(sector) ?? this.#settled?.get(sector);
  }

  #list(sector: number): Candidate[] {
    return this.#sectors.get(sector) ?? [];
  }
}
