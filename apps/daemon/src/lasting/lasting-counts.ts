import type { Logger } from 'pino';
import { z } from 'zod';
import { replaceFile } from '../replace-file.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { Caller, RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import { formatLasting, readLasting } from './lasting-file.js';
import type { Counts, HistoryRecord, LastingArray } from './lasting-file.js';

/** Time between two looks, in milliseconds: so much is lost in a crash. */
const lookMs = 10_000;
/** How long the last look may take, in milliseconds: a data path that does not answer keeps nobody from ending. */
const lastLookMs = 2000;
/** Arrays that are remembered; of more, those that have not been here for longest are forgotten. */
const mostArrays = 1000;
/** Background work that has ended, of one array. */
const mostRecords = 20;
/** Former members of an array that are remembered. */
const mostFormer = 32;

const none: Counts = { read: 0, write: 0, repaired: 0 };
const nullUuid = /^[0-]*$/;

/** What is read and written of an array in the answer of `raidkit_get_arrays`. */
interface ArrayAnswer {
  name: string;
  uuid: string;
  base_bdevs_list: { uuid: string }[];
  ext: {
    history: HistoryRecord[];
    members: { slot: number; read_errors: number; write_errors: number; repaired_blocks: number }[];
  };
}

/**
 * Has errors of members, and what background work found, outlast the array's being put together: it keeps them in a file, and adds
 * them to what `raidkit_get_arrays` answers. They belong to the array's and the member's uuid.
 */
export class LastingCounts implements Caller {
  readonly #inner: Caller;
  readonly #path: string | null;
  readonly #log: Logger;
  /** What there was before what the array counts itself. In the order in which arrays were here last. */
  readonly #before: Map<string, LastingArray>;
  /** What arrays counted themselves when they were looked at last, by the uuids of array and member. */
  readonly #counted = new Map<string, Counts>();
  #saved = '';
  #isInTrouble = false;
  #look: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  /** `path`: null for nowhere. */
  constructor(inner: Caller, path: string | null, log: Logger) {
    this.#inner = inner;
    this.#path = path;
    this.#log = log;
    this.#before = path === null ? new Map<string, LastingArray>() : readLasting(path, log);
  }

  /** To be called when the daemon is up. */
  begin(): void {
    if (this.#path === null) return;
    this.#timer = setInterval(() => void this.look(), lookMs);
    this.#timer.unref();
  }

  /** Resolves when what there is now is saved, or cannot be. To be called while arrays are still there. */
  async end(): Promise<void> {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, lastLookMs);
    });
    await Promise.race([this.look(), late]);
    clearTimeout(timer);
  }

  async call(name: string, params: unknown, hasDuplicateKey = false): Promise<unknown> {
    const answer = await this.#inner.call(name, params, hasDuplicateKey);
    return name === 'raidkit_get_arrays' ? (answer as ArrayAnswer[]).map((array) => this.#withEarlier(array)) : answer;
  }

  /** Notes what arrays count, and saves it. One at a time; failures are logged. */
  look(): Promise<void> {
    this.#look = this.#look
      .then(() => this.#lookNow())
      .catch((error: unknown) => this.#log.debug({ err: error }, 'errors and history could not be noted'));
    return this.#look;
  }

  methods(): RpcMethod[] {
    return [
      method({
        name: 'raidkit_clear_errors',
        params: z.strictObject({ name: z.string() }),
        badParams: invalidParams,
        run: async ({ name }) => {
          await this.look();
          const array = (await this.#arrays()).find((one) => one.name === name || one.uuid === name);
          if (array === undefined) throw errnoRefusal(19, `there is no array ${name}`);
          const before = this.#beforeOf(array.uuid);
          for (const [uuid, now] of membersOf(array)) before.members[uuid] = minus(none, now);
          await this.look();
          return true;
        },
      }),
    ];
  }

  async #arrays(): Promise<ArrayAnswer[]> {
    return (await this.#inner.call('raidkit_get_arrays', undefined)) as ArrayAnswer[];
  }

  async #lookNow(): Promise<void> {
    const arrays = await this.#arrays();
    this.#foldStopped(new Set(arrays.map(({ uuid }) => uuid)));
    for (const array of arrays) {
      const before = this.#beforeOf(array.uuid);
      for (const [uuid, now] of membersOf(array)) {
        const key = `${array.uuid} ${uuid}`;
        const last = this.#counted.get(key);
        // It has been put together anew, and counts from nothing.
        if (last !== undefined && isLess(now, last)) before.members[uuid] = plus(before.members[uuid] ?? none, last);
        this.#counted.set(key, now);
      }
      before.history = merged(array.ext.history, before.history);
      forgetFormer(before, array);
      this.#before.delete(array.uuid);
      this.#before.set(array.uuid, before);
    }
    for (const uuid of [...this.#before.keys()].slice(0, Math.max(0, this.#before.size - mostArrays)))
      this.#before.delete(uuid);
    await this.#save();
  }

  /** Arrays that are not here count from nothing when they are again. */
  #foldStopped(here: ReadonlySet<string>): void {
    for (const [key, counts] of this.#counted) {
      const [array = '', member = ''] = key.split(' ');
      if (here.has(array)) continue;
      const { members } = this.#beforeOf(array);
      members[member] = plus(members[member] ?? none, counts);
      this.#counted.delete(key);
    }
  }

  #beforeOf(uuid: string): LastingArray {
    const known = this.#before.get(uuid) ?? { members: {}, history: [] };
    this.#before.set(uuid, known);
    return known;
  }

  async #save(): Promise<void> {
    if (this.#path === null) return;
    const all = [...this.#before].map(([uuid, { history, members }]): [string, LastingArray] => {
      const sums = Object.keys({ ...members }).map((member): [string, Counts] => [member, this.#sum(uuid, member)]);
      return [uuid, { members: Object.fromEntries(sums), history }];
    });
    const text = formatLasting(new Map(all));
    if (text === this.#saved) return;
    try {
      await replaceFile(this.#path, text);
      this.#saved = text;
      this.#isInTrouble = false;
    } catch (error) {
      if (!this.#isInTrouble) this.#log.error({ path: this.#path, err: error }, 'errors and history cannot be saved');
      this.#isInTrouble = true;
    }
  }

  #sum(array: string, member: string): Counts {
    return plus(this.#before.get(array)?.members[member] ?? none, this.#counted.get(`${array} ${member}`) ?? none);
  }

  #withEarlier(array: ArrayAnswer): ArrayAnswer {
    const before = this.#before.get(array.uuid);
    if (before === undefined) return array;
    const members = array.ext.members.map((member) => {
      const uuid = array.base_bdevs_list[member.slot]?.uuid ?? '';
      const now = countsOf(member);
      const last = this.#counted.get(`${array.uuid} ${uuid}`) ?? none;
      const earlier = before.members[uuid] ?? none;
      const all = plus(earlier, isLess(now, last) ? plus(last, now) : now);
      return { ...member, read_errors: all.read, write_errors: all.write, repaired_blocks: all.repaired };
    });
    return { ...array, ext: { ...array.ext, members, history: merged(array.ext.history, before.history) } };
  }
}

function membersOf({ base_bdevs_list: slots, ext }: ArrayAnswer): [string, Counts][] {
  return ext.members.flatMap((member): [string, Counts][] => {
    const uuid = slots[member.slot]?.uuid ?? '';
    return nullUuid.test(uuid) ? [] : [[uuid, countsOf(member)]];
  });
}

function countsOf({
  read_errors: read,
  repaired_blocks: repaired,
  write_errors: write,
}: ArrayAnswer['ext']['members'][number]): Counts {
  return { read, write, repaired };
}

/** What the array knows itself, the last first, and what is older. */
function merged(now: readonly HistoryRecord[], before: readonly HistoryRecord[]): HistoryRecord[] {
  const older = before.filter((one) => !now.some((other) => other.type === one.type && other.started_at === one.started_at));
  return [...now, ...older].slice(0, mostRecords);
}

/** Devices that are no members any more are remembered, as long as there are not too many. */
function forgetFormer(before: LastingArray, array: ArrayAnswer): void {
  const current = new Set(membersOf(array).map(([uuid]) => uuid));
  for (const uuid of current) before.members[uuid] ??= none;
  const former = Object.keys(before.members).filter((uuid) => !current.has(uuid));
  const kept = Object.entries(before.members).filter(([uuid]) => !former.slice(0, -mostFormer).includes(uuid));
  before.members = Object.fromEntries(kept);
}

function plus(a: Counts, b: Counts): Counts {
  return { read: a.read + b.read, write: a.write + b.write, repaired: a.repaired + b.repaired };
}

function minus(a: Counts, b: Counts): Counts {
  return { read: a.read - b.read, write: a.write - b.write, repaired: a.repaired - b.repaired };
}

function isLess(a: Counts, b: Counts): boolean {
  return a.read < b.read || a.write < b.write || a.repaired < b.repaired;
}
