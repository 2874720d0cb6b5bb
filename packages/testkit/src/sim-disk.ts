import { Bdev, IoFlag, IoType, Status } from '@raidkit/bdev';
import type { BdevDriver, BdevIo } from '@raidkit/bdev';
import type { BufferMemory } from '@raidkit/parity';
import { CutMode, DiskFaults, Fate, thinSectors } from './disk-faults.js';
import type { Latency } from './disk-faults.js';
import { Media } from './media.js';
import type { Preimage } from './media.js';
import type { Random } from './random.js';
import { sectorBytes } from './sector.js';
import type { Life, World } from './world.js';

const stuckLookMs = 500;

/** Options of a simulated device. */
export interface SimDiskOptions {
  name: string;
  uuid: string;
  blockSize: number;
  numBlocks: number;
  latency: Latency;
  /** Whether writes are acknowledged from a volatile cache. */
  hasWriteCache: boolean;
  hasForceUnitAccess: boolean;
  /** I/O types that it does not support. A device without flush has no write cache. Default: none. */
  lacking?: readonly IoType[];
  /** The byte that unwritten blocks read as. */
  fill: number;
}

/** A completed write that a power cut may undo. */
interface Cached {
  order: number;
  before: Preimage;
  /** It is on stable media, and so are earlier writes to its sectors. */
  isStable: boolean;
  /** A flush of it failed, so no later flush makes it stable. */
  isDoomed: boolean;
}

interface Flight {
  io: BdevIo;
  driver: SimDiskDriver;
  /** Checksum of the data at submission. */
  checksum: number;
  /** For a flush: the order number up to which writes were complete when it started. */
  cachedUpTo: number;
  fate: Fate | undefined;
}

/**
 * A simulated disk, which outlives the processes that use it. Reads see the cache; after a power cut each unflushed sector
 * holds any of the values that it had since the last flush.
 */
export class SimDisk {
  readonly name: string;
  readonly uuid: string;
  readonly blockSize: number;
  numBlocks: number;
  readonly media: Media;
  readonly faults = new DiskFaults();
  /** Unreadable sectors, until they are written. */
  readonly latent = new Set<number>();
  isPresent = true;
  /** First sector of users' data. Lost and misdirected writes affect only data, unless armed. */
  dataSector = 0;
  /** First sector behind users' data. */
  dataEndSector = Infinity;
  /** Called after a lost or misdirected write: these sectors do not hold what they should. */
  onLie: ((firstSector: number, numSectors: number) => void) | null = null;
  /**
   * As {@link onLie}, for armed lost or misdirected writes anywhere on the disk, before they happen. `firstBytes` is the first
   * sector of the data that was to be written.
   */
  onAnyLie: ((firstSector: number, numSectors: number, isOverwritten: boolean, firstBytes: Uint8Array) => void) | null = null;
  /**
   * Called after the disk has dropped its cache, which it does at some failing flushes: it then shows older contents. Null: it
   * never drops it.
   */
  onDrop: (() => void) | null = null;
  /** Called when a flush, or a write that was to reach stable media, has failed, before it completes. */
  onLostFlush: (() => void) | null = null;
  /** Called with each read, write or other I/O as it is submitted, for scripted runs. May change faults, and says its fate. */
  onSubmit: ((io: BdevIo) => Fate | undefined) | null = null;
  /** Virtual time of the last error. */
  lastErrorAt = -1;
  /** Virtual time of the last failed write or flush: the array has been told and must not rely on the disk any more. */
  lastWriteErrorAt = -1;
  /**
   * Virtual time at which an I/O that should have ended on stable media last failed or timed out: earlier writes may be lost.
   */
  lastFlushErrorAt = -1;
  /** Number of I/Os submitted so far. */
  submitted = 0;
  readonly #options: SimDiskOptions;
  readonly #world: World;
  readonly #random: Random;
  #cached: Cached[] = [];
  /** Units that have been written, and so have space if the device is thin. */
  readonly #mapped = new Set<number>();
  #order = 0;
  readonly #flights = new Set<Flight>();

  constructor(world: World, random: Random, options: SimDiskOptions) {
    this.name = options.name;
    this.uuid = options.uuid;
    this.blockSize = options.blockSize;
    this.numBlocks = options.numBlocks;
    this.media = new Media(options.numBlocks * options.blockSize, options.fill);
    const { lacking = [] } = options;
    this.#options = { ...options, lacking, hasWriteCache: options.hasWriteCache && !lacking.includes(IoType.Flush) };
    this.#world = world;
    this.#random = random;
  }

  /** Returns a copy of the disk in another world, without faults. What is in flight here has not happened there. */
  copyTo(world: World, random: Random): SimDisk {
    const copy = new SimDisk(world, random, { ...this.#options, numBlocks: this.numBlocks });
    copy.media.restore(this.media);
    copy.#cached = this.#cached.map((entry) => ({ ...entry }));
    copy.#order = this.#order;
    for (const unit of this.#mapped) copy.#mapped.add(unit);
    return copy;
  }

  /** Returns the device for a process, under this name and uuid. Only one process at a time may have it. */
  plugIn(memory: BufferMemory, life: Life, { name, uuid }: Pick<SimDisk, 'name' | 'uuid'> = this): Bdev {
    const driver = new SimDiskDriver(this, memory, life, this.#options);
    return new Bdev({ name, uuid, blockSize: this.blockSize, numBlocks: this.numBlocks, driver });
  }

  /** Enlarges the device; the bdev has to be told as well. */
  grow(numBlocks: number): void {
    this.media.grow(numBlocks * this.blockSize);
    this.numBlocks = numBlocks;
  }

  /** Replaces the device by another one that holds one byte throughout. */
  blank(fill: number): void {
    this.#cached = [];
    this.media.restore(new Media(this.media.lengthBytes, fill));
  }

  get inFlight(): number {
    return this.#flights.size;
  }

  start(driver: SimDiskDriver, io: BdevIo): void {
    if (driver.life.isDead) return;
    this.submitted++;
    const fate = this.onSubmit?.(io);
    if (fate === Fate.Drop) return;
    const { faults } = this;
    if (!this.isPresent) {
      io.complete(Status.Gone);
      return;
    }
    if (faults.busyRate > 0 && this.#random.chance(faults.busyRate)) {
      io.complete(Status.NoMemory);
      return;
    }
    const flight: Flight = { io, driver, checksum: driver.checksum(io), cachedUpTo: this.#order, fate };
    this.#flights.add(flight);
    const { leastMs, meanMs } = this.#options.latency;
    const ms = (leastMs + this.#random.exponential(meanMs)) * faults.slowness;
    this.#world.after(ms, () => this.#end(flight), driver.life);
  }

  /** Whether a write to these sectors may be torn if the process dies or, if the power fails, undone. */
  mayTear(firstSector: number, numSectors: number, isPower: boolean): boolean {
    const perBlock = this.blockSize / sectorBytes;
    const meets = (first: number, count: number): boolean => first < firstSector + numSectors && firstSector < first + count;
    for (const { io } of this.#flights) {
      const isChange = io.type !== IoType.Read && io.type !== IoType.Flush;
      if (isChange && meets(io.offsetBlocks * perBlock, io.numBlocks * perBlock)) return true;
    }
    return isPower && this.#cached.some(({ before, isStable }) => !isStable && meets(before.firstSector, before.numSectors));
  }

  /** Called when the process that had it open dies: I/O in flight has happened, has not happened, or has in part. */
  processDied(): void {
    for (const flight of this.#flights) if (this.#random.chance(0.6)) this.#apply(flight, this.#random.chance(0.3));
    this.#flights.clear();
  }

  /** Called when the power fails: each sector that was not on stable media is kept or lost, as `mode` says. */
  powerCut(mode: CutMode): void {
    if (mode !== CutMode.LoseAll) {
      for (const flight of this.#flights) {
        if (mode === CutMode.KeepAll || this.#random.chance(0.5)) this.#apply(flight, mode === CutMode.Random);
      }
    }
    this.#flights.clear();
    this.loseCache(mode);
    this.faults.stuckUntil = 0;
  }

  /** Loses or keeps cached writes, as `mode` says. */
  loseCache(mode: CutMode): void {
    const kept = new Set<number>();
    const count = this.#cached.length;
    const prefix = mode === CutMode.Prefix ? this.#random.int(0, count) : mode === CutMode.KeepAll ? count : 0;
    for (let index = count - 1; index >= prefix; index--) {
      const entry = this.#cached[index];
      if (entry === undefined) break;
      const { firstSector, numSectors } = entry.before;
      for (let sector = firstSector; sector < firstSector + numSectors; sector++) {
        if (kept.has(sector)) continue;
        if (entry.isStable || (mode === CutMode.Random && this.#random.chance(0.5))) kept.add(sector);
        else this.media.undo(entry.before, sector);
      }
    }
    this.#cached = [];
  }

  /** Removes the device: its I/O soon ends with ENXIO. */
  vanish(): void {
    this.isPresent = false;
    this.lastErrorAt = Infinity;
    for (const flight of [...this.#flights]) {
      this.#flights.delete(flight);
      if (this.#random.chance(0.5)) this.#apply(flight, this.#random.chance(0.5));
      this.#world.after(this.#random.exponential(1), () => flight.io.complete(Status.Gone), flight.driver.life);
    }
  }

  #end(flight: Flight): void {
    if (!this.#flights.has(flight)) return;
    const stuckMs = this.faults.stuckUntil - this.#world.now;
    if (stuckMs > 0) {
      // Checked periodically, because the plan may release it earlier.
      this.#world.after(
        Math.min(stuckMs, stuckLookMs) + this.#random.exponential(1),
        () => this.#end(flight),
        flight.driver.life,
      );
      return;
    }
    this.#flights.delete(flight);
    const { io, driver, fate } = flight;
    const status = fate === Fate.Fail ? Status.IoError : this.#fault(io);
    this.#world.mix(io.type * 16 + status);
    this.#world.mix(io.offsetBlocks);
    if (status !== Status.Ok) {
      this.lastErrorAt = this.#world.now;
      if (io.type !== IoType.Read) this.lastWriteErrorAt = this.#world.now;
      // Without FUA the layer above follows the write with a flush, and does not know here which of the two failed.
      const isForced = (io.flags & IoFlag.ForceUnitAccess) !== 0 || !this.#options.hasForceUnitAccess;
      const isWrite = io.type === IoType.Write || io.type === IoType.WriteZeroes;
      if (io.type === IoType.Flush || (isWrite && isForced)) {
        this.lastFlushErrorAt = this.#world.now;
        this.onLostFlush?.();
      }
    }
    if (io.type === IoType.Read) {
      if (status === Status.Ok) driver.fill(io);
      else driver.spoil(io);
    } else if (status === Status.Ok) {
      if (fate !== Fate.Lose && !this.#lies(flight)) this.#apply(flight, false);
      if (io.type === IoType.Flush) this.#flushed(flight.cachedUpTo);
    } else if (io.type === IoType.Flush) {
      this.#failFlush();
    } else if (this.#random.chance(0.5) && !(status === Status.NoSpace && !this.faults.isFull)) {
      // A thin device writes nothing of a request for which it has no space.
      this.#apply(flight, true);
    }
    io.complete(status);
  }

  /** Flips one bit of a sector. */
  corrupt(sector: number, bit: number): void {
    const bytes = new Uint8Array(sectorBytes);
    this.media.read(bytes, 0, sector * sectorBytes, sectorBytes);
    const at = Math.floor(bit / 8) % sectorBytes;
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 8));
    this.#overwrite(sector, bytes);
    this.onLie?.(sector, 1);
  }

  /** Returns true if a data write is acknowledged but lost or misdirected. */
  #lies({ io, driver }: Flight): boolean {
    const { faults } = this;
    if (io.type !== IoType.Write) return false;
    const perBlock = this.blockSize / sectorBytes;
    const first = io.offsetBlocks * perBlock;
    const count = io.numBlocks * perBlock;
    const armed = faults.armedLies.find(({ from, end, left }) => left > 0 && first >= from && first < end);
    if (armed !== undefined) {
      armed.left--;
      this.#liesAbout(io, driver, first, count, armed.onto);
      return true;
    }
    if (faults.lostWrites === 0 && faults.misdirectedWrites === 0) return false;
    if (first < this.dataSector || first >= this.dataEndSector) return false;
    this.onLie?.(first, count);
    if (faults.lostWrites > 0) {
      faults.lostWrites--;
      return true;
    }
    faults.misdirectedWrites--;
    const room = this.numBlocks * perBlock - count - this.dataSector;
    const wrong = this.dataSector + ((first - this.dataSector + count) % Math.max(1, room));
    this.onLie?.(wrong, count);
    const bytes = new Uint8Array(sectorBytes);
    for (let i = 0; i < count; i++) {
      driver.sectorOf(io, i, bytes);
      this.#overwrite(wrong + i, bytes);
    }
    return true;
  }

  /** Loses an armed write, or misdirects it to another sector. */
  #liesAbout(io: BdevIo, driver: SimDiskDriver, first: number, count: number, onto: number | null): void {
    const firstBytes = new Uint8Array(sectorBytes);
    driver.sectorOf(io, 0, firstBytes);
    this.onAnyLie?.(first, count, false, firstBytes);
    if (onto === null || onto === first) return;
    const room = Math.min(count, this.numBlocks * (this.blockSize / sectorBytes) - onto);
    this.onAnyLie?.(onto, room, true, firstBytes);
    const bytes = new Uint8Array(sectorBytes);
    for (let i = 0; i < room; i++) {
      driver.sectorOf(io, i, bytes);
      this.#overwrite(onto + i, bytes);
    }
  }

  /** Overwrites a sector as a write does that a power cut may undo. */
  #overwrite(sector: number, bytes: Uint8Array): void {
    const order = ++this.#order;
    this.#cached.push({ order, before: this.media.preimage(sector, 1), isStable: true, isDoomed: false });
    this.media.write(sector * sectorBytes, bytes, 0, sectorBytes);
  }

  /** Returns the error with which the I/O fails, or Ok. */
  #fault(io: BdevIo): Status {
    const { faults } = this;
    switch (io.type) {
      case IoType.Read: {
        if (this.latent.size > 0 && this.#hasLatent(io)) return Status.IoError;
        return this.#random.chance(faults.readErrorRate) ? Status.IoError : Status.Ok;
      }
      case IoType.Flush:
        if (faults.flushErrors > 0) {
          faults.flushErrors--;
          return Status.IoError;
        }
        return this.#random.chance(faults.flushErrorRate) ? Status.IoError : Status.Ok;
      default:
        if (faults.isFull || this.#hasNoRoom(io)) return Status.NoSpace;
        if (faults.isReadOnly) return Status.NotPermitted;
        if (faults.writeErrors > 0) {
          faults.writeErrors--;
          return Status.IoError;
        }
        return this.#random.chance(faults.writeErrorRate) ? Status.IoError : Status.Ok;
    }
  }

  /** Whether a thin device has no space for units that it has never held. Zeros take none. */
  #hasNoRoom(io: BdevIo): boolean {
    if (io.type !== IoType.Write || this.faults.thinUnits === Infinity) return false;
    let more = 0;
    const { first, end } = this.#unitsOf(io);
    for (let unit = first; unit < end; unit++) if (!this.#mapped.has(unit)) more++;
    if (more > this.faults.thinUnits) return true;
    this.faults.thinUnits -= more;
    return false;
  }

  #unitsOf(io: BdevIo): { first: number; end: number } {
    const perBlock = this.blockSize / sectorBytes;
    const first = Math.floor((io.offsetBlocks * perBlock) / thinSectors);
    return { first, end: Math.ceil(((io.offsetBlocks + io.numBlocks) * perBlock) / thinSectors) };
  }

  #hasLatent(io: BdevIo): boolean {
    const perBlock = this.blockSize / sectorBytes;
    const first = io.offsetBlocks * perBlock;
    const end = first + io.numBlocks * perBlock;
    for (const sector of this.latent) if (sector >= first && sector < end) return true;
    return false;
  }

  /** Applies a write to the cache, wholly or in part. */
  #apply(flight: Flight, isTorn: boolean): void {
    const { io, driver } = flight;
    if (io.type === IoType.Read || io.type === IoType.Flush || io.type === IoType.Reset) return;
    if (driver.checksum(io) !== flight.checksum) {
      this.#world.fail(new Error(`${this.name}: the data of a write was changed while the device had it`));
    }
    if (io.type === IoType.Write) {
      const { first, end } = this.#unitsOf(io);
      for (let unit = first; unit < end; unit++) this.#mapped.add(unit);
    }
    const perBlock = this.blockSize / sectorBytes;
    const first = io.offsetBlocks * perBlock;
    const count = io.numBlocks * perBlock;
    const order = ++this.#order;
    const isStable =
      !this.#options.hasWriteCache || (this.#options.hasForceUnitAccess && (io.flags & IoFlag.ForceUnitAccess) !== 0);
    if (!isStable || this.#cached.length > 0) {
      this.#cached.push({ order, before: this.media.preimage(first, count), isStable: isStable && !isTorn, isDoomed: false });
    }
    for (let sector = first; sector < first + count; sector++) {
      if (isTorn && this.#random.chance(0.5)) continue;
      const run = isTorn ? 1 : count;
      if (io.type === IoType.Write) driver.copyOut(io, (sector - first) * sectorBytes, sector, run);
      else this.media.zero(sector * sectorBytes, run * sectorBytes);
      if (this.latent.size > 0) for (let i = 0; i < run; i++) this.latent.delete(sector + i);
      sector += run - 1;
    }
  }

  /** After a failed flush, what it should have kept is shown until the power fails, or is dropped at once. */
  #failFlush(): void {
    // A read in flight returns what was there when it was submitted.
    const isRead = [...this.#flights].some(({ io }) => io.type === IoType.Read);
    if (this.onDrop !== null && !isRead && this.#random.chance(0.5)) {
      this.loseCache(CutMode.LoseAll);
      this.onDrop();
      return;
    }
    for (const entry of this.#cached) if (this.#random.chance(0.5)) entry.isDoomed = true;
  }

  #flushed(upTo: number): void {
    // Entries behind one that stays are kept too, so that undoing that one does not undo them.
    let hasKept = false;
    this.#cached = this.#cached.filter((entry) => {
      if (!entry.isDoomed && entry.order <= upTo) entry.isStable = true;
      hasKept ||= !entry.isStable;
      return hasKept;
    });
  }
}

/** The driver through which one process uses a {@link SimDisk}. */
class SimDiskDriver implements BdevDriver {
  readonly kind = 'simulated';
  readonly productName = 'Simulated disk';
  readonly hasForceUnitAccess: boolean;
  readonly life: Life;
  readonly #disk: SimDisk;
  readonly #memory: BufferMemory;
  readonly #words: Int32Array;
  readonly #lacking: readonly IoType[];

  constructor(disk: SimDisk, memory: BufferMemory, life: Life, { hasForceUnitAccess, lacking = [] }: SimDiskOptions) {
    this.#disk = disk;
    this.#memory = memory;
    this.#words = new Int32Array(memory.buffer);
    this.life = life;
    this.hasForceUnitAccess = hasForceUnitAccess;
    this.#lacking = lacking;
  }

  supports(type: IoType): boolean {
    return !this.#lacking.includes(type);
  }

  submit(io: BdevIo): void {
    this.#disk.start(this, io);
  }

  /** Checksum of a sample of each sector of a write's data, to detect changes while the device has it. */
  checksum(io: BdevIo): number {
    if (io.type !== IoType.Write) return 0;
    let sum = 0;
    const end = (io.addr + io.numBlocks * this.#disk.blockSize) / 4;
    for (let word = io.addr / 4; word < end; word += sectorBytes / 4) {
      sum = (Math.imul(sum, 31) + (this.#words[word] ?? 0) + Math.imul(this.#words[word + 77] ?? 0, 7)) | 0;
    }
    return sum;
  }

  fill(io: BdevIo): void {
    this.#disk.media.read(
      this.#memory.u8,
      io.addr,
      io.offsetBlocks * this.#disk.blockSize,
      io.numBlocks * this.#disk.blockSize,
    );
  }

  /** Overwrites the buffer of a failed read. */
  spoil(io: BdevIo): void {
    this.#memory.u8.fill(0xee, io.addr, io.addr + io.numBlocks * this.#disk.blockSize);
  }

  /** Copies one sector of a write's data to `target`. */
  sectorOf(io: BdevIo, index: number, target: Uint8Array): void {
    const start = io.addr + index * sectorBytes;
    target.set(this.#memory.u8.subarray(start, start + sectorBytes));
  }

  copyOut(io: BdevIo, fromBytes: number, sector: number, numSectors: number): void {
    this.#disk.media.write(sector * sectorBytes, this.#memory.u8, io.addr + fromBytes, numSectors * sectorBytes);
  }
}
