import { BdevError, BlockClient } from '@raidkit/bdev';
import { RaidArrays, RaidError, RaidModuleRegistry } from '@raidkit/core';
import type { RaidArray, RaidModule, SuperblockStore } from '@raidkit/core';
import { Coverage } from '../coverage.js';
import { CutMode } from '../disk-faults.js';
import { Random } from '../random.js';
import { SimDisk } from '../sim-disk.js';
import { leastSlots } from '../slots.js';
import type { SimMemory } from '../sim-memory.js';
import { Stack } from '../stack.js';
import { World } from '../world.js';
import { Contents } from './contents.js';

/** Levels of the machine's arrays, their superblock store, and the memory. */
export interface MachineParts {
  /** There is one array for each. */
  modules: readonly RaidModule[];
  store: SuperblockStore;
  /** Memory that the processes use one after another. */
  memory: SimMemory;
}

/** Result of {@link runMachine}. */
export interface MachineResult {
  seed: number;
  /** The broken rule; null if none was broken. */
  violation: string | null;
  coverage: Coverage;
  trace: string[];
}

const blockSize = 512;
const dataKib = 128;
/** The daemon's time limits, in milliseconds. */
const degradedStartMs = 30_000;
const absentWaitMs = 1000;
/** Longer than any wait, in milliseconds. */
const longMs = 600_000;

interface Kept {
  name: string;
  module: RaidModule;
  contents: Contents;
  /** The members when the array was last complete. */
  members: SimDisk[];
}

/**
 * A machine with several arrays, which processes run one after another. Each does what the daemon does at start: it opens the
 * devices of a saved configuration in order, with the uuid pinned to each path, adds the spares again, and starts incomplete
 * arrays after 30 s. Meanwhile devices are missing, late, swapped or gone for good; processes end in an orderly way, are killed
 * or lose power; others open the same devices. After each start all flushed data must be there, and whatever can start must
 * start.
 */
class Machine {
  readonly coverage = new Coverage();
  readonly world: World;
  readonly #random: Random;
  readonly #parts: MachineParts;
  readonly #disks: SimDisk[] = [];
  readonly #arrays: Kept[] = [];
  readonly #lost = new Set<SimDisk>();
  #spare: SimDisk | null;
  #stack: Stack;

  constructor(seed: number, parts: MachineParts) {
    this.world = new World(seed);
    this.#random = new Random(seed, 21);
    this.#parts = parts;
    this.#spare = this.#newDisk();
    this.#stack = this.#boot();
  }

  async run(): Promise<void> {
    await this.#create();
    await this.#use();
    await this.#end();
    for (let rounds = this.#random.int(2, 5); rounds > 0; rounds--) {
      if (this.#random.chance(0.35)) await this.#comeUpMixedUp();
      await this.#comeUp();
      await this.#check();
      if (this.#random.chance(0.3)) await this.#lookTwice();
      await this.#use();
      if (this.#random.chance(0.25)) await this.#loseOne();
      await this.#end();
    }
    await this.#comeUp();
    await this.#check();
  }

  #newDisk(): SimDisk {
    const index = this.#disks.length;
    const disk = new SimDisk(this.world, new Random(this.#random.int(0, 1 << 30), 30 + index), {
      name: `d${index}`,
      uuid: `00000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`,
      blockSize,
      numBlocks: (this.#parts.store.reservedBytes + dataKib * 1024) / blockSize,
      latency: { leastMs: 0.05, meanMs: 0.2 },
      hasWriteCache: true,
      hasForceUnitAccess: this.#random.chance(0.5),
      fill: 0xa5,
    });
    this.#disks.push(disk);
    return disk;
  }

  #boot(): Stack {
    const { memory, modules, store } = this.#parts;
    memory.reset();
    const assembly = { degradedStartMs, absentWaitMs };
    return new Stack(this.world, memory, modules, store, () => undefined, { assembly });
  }

  async #create(): Promise<void> {
    const stack = this.#stack;
    if (this.#spare !== null) await stack.plugIn(this.#spare);
    for (const module of this.#parts.modules) {
      const name = `a${this.#arrays.length}`;
      const members = Array.from({ length: leastSlots(module) }, () => this.#newDisk());
      for (const disk of members) await stack.plugIn(disk);
      const strip = module.manifest.stripSize === 'required' ? { stripSizeKb: 4 } : {};
      const baseBdevs = members.map((disk) => disk.name);
      await stack.arrays.create({ name, level: module.level, baseBdevs, superblock: true, ...strip });
      const blocks = this.#view(name)?.numBlocks ?? 0;
      this.#arrays.push({ name, module, contents: new Contents(blocks), members });
    }
    await this.#addSpare();
  }

  #view(name: string): RaidArray | undefined {
    return this.#stack.arrays.get(name);
  }

  #membersOf(array: string): SimDisk[] {
    const names = this.#view(array)?.slots.map(({ name }) => name) ?? [];
    return this.#disks.filter(({ name }) => names.includes(name));
  }

  async #addSpare(): Promise<void> {
    if (this.#spare === null) return;
    await this.#stack.arrays.addSpare(this.#spare.name).catch((error: unknown) => {
      // A spare that has replaced a member is a member, whatever the saved configuration says.
      if (!RaidError.is(error) && !BdevError.is(error)) throw error;
      this.coverage.mark('a spare is a member by now');
    });
  }

  /** Devices of the saved configuration, in its order. */
  get #saved(): SimDisk[] {
    return this.#disks.filter((disk) => !this.#lost.has(disk));
  }

  async #comeUp(): Promise<void> {
    const stack = (this.#stack = this.#boot());
    const saved = this.#random.chance(0.5) ? this.#saved : this.#random.shuffle(this.#saved);
    const late = this.#random.chance(0.35) ? this.#random.pick(saved) : null;
    const isLong = this.#random.chance(0.5);
    for (const disk of saved) {
      if (disk === late) continue;
      const opened = stack.plugIn(disk);
      if (this.#random.chance(0.5)) await opened;
      else opened.catch(() => undefined);
    }
    if (late === null || late !== this.#spare) await this.#addSpare();
    if (late !== null) {
      await this.world.sleep(isLong ? degradedStartMs + 5000 : this.#random.exponential(2000));
      this.coverage.mark(isLong ? 'a device is missing for longer than arrays wait' : 'a device is late');
      this.#judgeWithout(isLong);
      await stack.plugIn(late);
      if (late === this.#spare) await this.#addSpare();
    }
    await this.#until('every array is up, and complete', () =>
      this.#arrays.every(({ name }) => {
        const view = this.#view(name);
        return view?.state === 'online' && view.process === null && (view.numInSync === view.numSlots || this.#mayLack(view));
      }),
    );
    for (const array of this.#arrays) array.members = this.#membersOf(array.name);
    this.coverage.mark('the configuration is replayed');
  }

  /** Whether the array may lack a member because no spare is left. */
  #mayLack({ slots }: RaidArray): boolean {
    return this.#lost.size > 0 && slots.every((slot) => slot.isInSync || !slot.hasDevice);
  }

  #judgeWithout(isLong: boolean): void {
    for (const { module, name } of this.#arrays) {
      const view = this.#view(name);
      if (view?.state !== 'online' || view.numInSync === view.numSlots) continue;
      if (module.redundancy === 'none') throw new Error(`${name} is online without a member that it needs`);
      if (isLong) this.coverage.mark(`a ${module.level} has started by itself without a member`);
    }
  }

  /** Starts with two devices swapped: each has the uuid pinned to its path, and the other's contents. */
  async #comeUpMixedUp(): Promise<void> {
    const ofOne = this.#random.pick(this.#arrays).members.filter((disk) => !this.#lost.has(disk));
    const [one, other] = this.#random.shuffle(this.#random.chance(0.7) ? ofOne : this.#saved);
    if (one === undefined || other === undefined) return;
    const stack = (this.#stack = this.#boot());
    for (const disk of this.#saved) {
      const path = disk === one ? other : disk === other ? one : disk;
      await stack.plugIn(disk, path);
    }
    await this.world.sleep(degradedStartMs + 5000);
    this.coverage.mark('two devices have changed places');
    await this.#check();
    await this.#end();
  }

  /** A second set of arrays in the process examines the same devices. */
  async #lookTwice(): Promise<void> {
    const { registry } = this.#stack;
    const modules = new RaidModuleRegistry();
    for (const module of this.#parts.modules) modules.register(module);
    const others = new RaidArrays({ registry, modules, store: this.#parts.store, assembly: { degradedStartMs: 0 } });
    for (const disk of this.#saved) {
      const bdev = this.#stack.bdevOf(disk);
      if (bdev !== undefined && disk !== this.#spare) await others.examine(bdev);
    }
    for (const { name } of this.#arrays)
      if (others.get(name)?.state === 'online') throw new Error(`${name} is online twice in one process`);
    await others.stop();
    this.coverage.mark('a second composer looks at the devices');
  }

  /** Removes a device for good. An array with redundancy goes on, with the spare if there is still one. */
  async #loseOne(): Promise<void> {
    const arrays = this.#arrays.filter(({ module, name }) => {
      const view = this.#view(name);
      return module.redundancy !== 'none' && view?.state === 'online' && view.numInSync === view.numSlots;
    });
    if (arrays.length === 0 || this.#lost.size > 0) return;
    const { name } = this.#random.pick(arrays);
    const member = this.#random.pick(this.#view(name)?.slots.map((slot) => slot.name) ?? []);
    const disk = this.#disks.find((one) => one.name === member);
    if (disk === undefined) return;
    this.#lost.add(disk);
    disk.vanish();
    await this.#stack.pullOut(disk);
    // A spare replaces a member that has been absent for a minute.
    await this.#until('the spare has taken its place', () => {
      const view = this.#view(name);
      return view?.state === 'online' && view.numInSync === view.numSlots && view.process === null;
    });
    this.coverage.mark('a spare has taken a place');
    await this.#use();
  }

  async #use(): Promise<void> {
    for (const { contents, name } of this.#arrays) {
      if (this.#view(name)?.state !== 'online') continue;
      const client = new BlockClient(this.#stack.registry.open(name, { writable: true }));
      for (let left = this.#random.int(1, 6); left > 0; left--) await contents.write(client, this.#random, true);
      await client.flush();
      contents.flushed();
      client.descriptor.close();
    }
  }

  async #check(): Promise<void> {
    for (const { contents, name } of this.#arrays) {
      if (this.#view(name)?.state !== 'online') continue;
      const client = new BlockClient(this.#stack.registry.open(name, { writable: true }));
      await contents.check(client, name);
      client.descriptor.close();
    }
  }

  async #end(): Promise<void> {
    const stack = this.#stack;
    const how = this.#random.pick(['stop', 'kill', 'power'] as const);
    this.coverage.mark(`the process ends: ${how}`);
    if (how === 'stop') await stack.arrays.stop();
    // Some writes are in flight.
    else
      for (const { contents, name } of this.#arrays) {
        if (this.#view(name)?.state !== 'online') continue;
        const client = new BlockClient(stack.registry.open(name, { writable: true }));
        for (let left = this.#random.int(0, 3); left > 0; left--)
          contents.write(client, this.#random, false).catch(() => undefined);
      }
    await this.world.sleep(this.#random.exponential(1));
    stack.die();
    for (const disk of this.#disks) {
      if (how === 'power') disk.powerCut(CutMode.Random);
      else disk.processDied();
    }
  }

  async #until(what: string, condition: () => boolean): Promise<void> {
    const end = this.world.now + longMs;
    while (!condition()) {
      if (this.world.now > end) throw new Error(`it does not come to pass: ${what}: ${this.#describe()}`);
      await this.world.sleep(100);
    }
  }

  #describe(): string {
    return this.#arrays
      .map(({ name }) => {
        const view = this.#view(name);
        return `${name} ${view?.state ?? 'is not there'}, ${view?.numInSync ?? 0} of ${view?.numSlots ?? 0}, ${view?.startError ?? ''}`;
      })
      .join('; ');
  }
}

/** Runs a machine for one seed. */
export async function runMachine(seed: number, parts: MachineParts): Promise<MachineResult> {
  const machine = new Machine(seed, parts);
  const { coverage, world } = machine;
  let violation: string | null = null;
  let isOver = false;
  machine
    .run()
    .catch((error: unknown) => {
      violation = error instanceof Error ? (error.stack ?? error.message) : String(error);
    })
    .finally(() => {
      isOver = true;
    })
    .catch(() => undefined);
  const end = await world.run(() => isOver, { maxMs: 100 * longMs, maxSteps: 20_000_000 });
  violation ??= world.failure?.message ?? (end === 'done' ? null : `it does not end: ${end}`);
  parts.memory.reset();
  return { seed, violation, coverage, trace: world.traceTail() };
}
