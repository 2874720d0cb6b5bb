import type { Logger } from 'pino';
import { z } from 'zod';
import { replaceFile } from '../replace-file.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { Caller, RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import { formatLasting, mostRecords, readLasting } from './lasting-file.js';
import type { Counts, HistoryRecord, LastingArray } from './lasting-file.js';

/** Milliseconds between two updates: a crash loses this much. */
const lookMs = 10_000;
/** Time limit of the last update in milliseconds, so that a data path that does not answer does not block the daemon's end. */
const lastLookMs = 2000;
/** Number of arrays that are remembered; beyond it, those that were absent longest are dropped. */
const mostArrays = 1000;
/** Number of former members that are remembered per array. */
const mostFormer = 32;

const none: Counts = { read: 0, write: 0, repaired: 0, checksum: 0 };
const nullUuid = /^[0-]*$/;

type LastDevice = NonNullable<LastingArray['devices'][number]>;

/** The part of `raidkit_get_arrays`' answer that is read or changed here. */
interface ArrayAnswer {
  name: string;
  uuid: string;
  state: string;
  superblock: boolean;
  base_bdevs_list: { uuid: string }[];
  ext: {
    history: HistoryRecord[];
    members: MemberAnswer[];
  };
}

interface MemberAnswer {
  slot: number;
  name: string | null;
  serial: string | null;
  last_member: LastDevice | null;
  read_errors: number;
  write_errors: number;
  repaired_blocks: number;
  checksum_errors: number;
}

/**
 * Makes members' error counts and the results of background processes survive the array's assembly: keeps them in a file, and
 * adds them to the answer of `raidkit_get_arrays`. They belong to the uuids of array and member. An array itself counts by
 * slot, whichever member is in it, starting with what its superblocks recorded at some earlier time, or with nothing if it has
 * none. So this adds to its own totals what an array's counters have gained since the last update.
 */
export class LastingCounts implements Caller {
  readonly #inner: Caller;
  readonly #path: string | null;
  readonly #log: Logger;
  /** State at the last update, ordered by when an array was last present. */
  readonly #known: Map<string, LastingArray>;
  /** Arrays that were present at the last update and did not wait for members. */
  readonly #here = new Set<string>();
  #saved = '';
  #isInTrouble = false;
  /** Resolves when no update is in progress. */
  #turn: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  /** `path`: null if nothing is saved. */
  constructor(inner: Caller, path: string | null, log: Logger) {
    this.#inner = inner;
    this.#path = path;
    this.#log = log;
    this.#known = path === null ? new Map<string, LastingArray>() : readLasting(path, log);
  }

  /** Starts the updates; to be called when the daemon is up. */
  begin(): void {
    if (this.#path === null) return;
    this.#timer = setInterval(() => void this.look(), lookMs);
    this.#timer.unref();
  }

  /** Makes a last update while arrays still exist; resolves when it was saved or could not be. */
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

  /** Updates the totals from the arrays' counters and saves them. Failures are logged. */
  look(): Promise<void> {
    return this.#inTurn(() => this.#lookNow()).catch((error: unknown) =>
      this.#log.debug({ err: error }, 'error counts and history could not be recorded'),
    );
  }

  /** Runs updates one after another: an earlier answer must not be processed after a later one. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  methods(): RpcMethod[] {
    return [
      method({
        name: 'raidkit_clear_errors',
        params: z.strictObject({ name: z.string() }),
        badParams: invalidParams,
        run: async ({ name }) => {
          await this.#inTurn(() => this.#clear(name));
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
    const uuids = new Set(arrays.map(({ uuid }) => uuid));
    for (const uuid of this.#here) if (!uuids.has(uuid)) this.#here.delete(uuid);
    for (const array of arrays) {
      const known = this.#knownOf(array.uuid);
      if (hasCounted(array)) {
        for (const { member, slot, now } of slotsOf(array)) {
          if (member !== null) known.members[member] = this.#total(array, slot, member, now);
          known.slots[slot] = now;
        }
        this.#here.add(array.uuid);
      }
      noteDevices(known, array);
      known.history = merged(array.ext.history, known.history);
      forgetFormer(known, array);
      this.#known.delete(array.uuid);
      this.#known.set(array.uuid, known);
    }
    for (const uuid of [...this.#known.keys()].slice(0, Math.max(0, this.#known.size - mostArrays))) this.#known.delete(uuid);
    await this.#save();
  }

  async #clear(name: string): Promise<void> {
    await this.#lookNow();
    const array = (await this.#arrays()).find((one) => one.name === name || one.uuid === name);
    if (array === undefined) throw errnoRefusal(19, `there is no array ${name}`);
    const known = this.#knownOf(array.uuid);
    for (const { member, slot, now } of slotsOf(array)) {
      if (member !== null) known.members[member] = none;
      if (hasCounted(array)) known.slots[slot] = now;
    }
    await this.#save();
  }

  #knownOf(uuid: string): LastingArray {
    const known = this.#known.get(uuid) ?? { members: {}, slots: [], devices: [], history: [] };
    this.#known.set(uuid, known);
    return known;
  }

  /** Returns a member's totals, given its slot's present counters. */
  #total(array: ArrayAnswer, slot: number, member: string, now: Counts): Counts {
    const known = this.#known.get(array.uuid);
    const before = known?.members[member];
    if (!hasCounted(array)) return before ?? now;
    // An array without superblocks that was not present starts counting at zero.
    const isNew = !array.superblock && !this.#here.has(array.uuid);
    const last = isNew ? none : (known?.slots[slot] ?? none);
    // The counters are lower than at the last update, so the array was assembled again since: from superblocks that are older
    // than the update, or from nothing.
    const base = !isLess(now, last) ? last : array.superblock ? now : none;
    return plus(before ?? none, minus(now, base));
  }

  async #save(): Promise<void> {
    if (this.#path === null) return;
    const text = formatLasting(this.#known);
    if (text === this.#saved) return;
    try {
      await replaceFile(this.#path, text);
      this.#saved = text;
      this.#isInTrouble = false;
    } catch (error) {
      if (!this.#isInTrouble) this.#log.error({ path: this.#path, err: error }, 'error counts and history cannot be saved');
      this.#isInTrouble = true;
    }
  }

  #withEarlier(array: ArrayAnswer): ArrayAnswer {
    const known = this.#known.get(array.uuid);
    if (known === undefined) return array;
    const owners = new Map(slotsOf(array).map(({ member, slot }) => [slot, member]));
    const members = array.ext.members.map((member) => {
      const owner = owners.get(member.slot) ?? null;
      // After a restart the array does not know the last member of an empty slot.
      const last = member.name === null ? (member.last_member ?? known.devices[member.slot] ?? null) : member.last_member;
      if (owner === null) return { ...member, last_member: last };
      const all = this.#total(array, member.slot, owner, countsOf(member));
      return { ...member, last_member: last, ...errorsOf(all) };
    });
    return { ...array, ext: { ...array.ext, members, history: merged(array.ext.history, known.history) } };
  }
}

/** Whether the array's counters are valid: while it waits for members, it has not read what their superblocks record. */
function hasCounted({ state }: ArrayAnswer): boolean {
  return state !== 'configuring';
}

/**
 * Returns the slots with their counters and the uuid of the member that these belong to: the present member or the last one;
 * null if there was none.
 */
function slotsOf({ base_bdevs_list: slots, ext }: ArrayAnswer): { slot: number; member: string | null; now: Counts }[] {
  return ext.members.map((member) => {
    const { last_member: last, slot } = member;
    const owner = [slots[slot]?.uuid, last?.uuid].find((uuid) => uuid !== undefined && !nullUuid.test(uuid));
    return { slot, member: owner ?? null, now: countsOf(member) };
  });
}

/** Records which devices the slots have, or had last. */
function noteDevices(known: LastingArray, { base_bdevs_list: slots, ext }: ArrayAnswer): void {
  known.devices = ext.members.map(({ last_member: last, name, serial, slot }) => {
    const uuid = slots[slot]?.uuid ?? '';
    if (name !== null && !nullUuid.test(uuid)) return { name, uuid, serial };
    if (last !== null && !nullUuid.test(last.uuid)) return { name: last.name, uuid: last.uuid, serial: last.serial };
    return known.devices[slot] ?? null;
  });
}

type MemberErrors = Pick<MemberAnswer, 'checksum_errors' | 'read_errors' | 'repaired_blocks' | 'write_errors'>;

function countsOf({
  checksum_errors: checksum,
  read_errors: read,
  repaired_blocks: repaired,
  write_errors: write,
}: MemberErrors): Counts {
  return { read, write, repaired, checksum };
}

function errorsOf({ checksum, read, repaired, write }: Counts): MemberErrors {
  return { read_errors: read, write_errors: write, repaired_blocks: repaired, checksum_errors: checksum };
}

/** Merges the array's own records, the latest first, with older ones. */
function merged(now: readonly HistoryRecord[], before: readonly HistoryRecord[]): HistoryRecord[] {
  const older = before.filter((one) => !now.some((other) => other.type === one.type && other.started_at === one.started_at));
  return [...now, ...older].slice(0, mostRecords);
}

/** Drops former members if there are too many. */
function forgetFormer(known: LastingArray, array: ArrayAnswer): void {
  const current = new Set(slotsOf(array).map(({ member }) => member));
  const former = Object.keys(known.members).filter((uuid) => !current.has(uuid));
  const forgotten = new Set(former.slice(0, -mostFormer));
  known.members = Object.fromEntries(Object.entries(known.members).filter(([uuid]) => !forgotten.has(uuid)));
}

function plus(a: Counts, b: Counts): Counts {
  return {
    read: a.read + b.read,
    write: a.write + b.write,
    repaired: a.repaired + b.repaired,
    checksum: a.checksum + b.checksum,
  };
}

function minus(a: Counts, b: Counts): Counts {
  return {
    read: a.read - b.read,
    write: a.write - b.write,
    repaired: a.repaired - b.repaired,
    checksum: a.checksum - b.checksum,
  };
}

function isLess(a: Counts, b: Counts): boolean {
  return a.read < b.read || a.write < b.write || a.repaired < b.repaired || a.checksum < b.checksum;
}
