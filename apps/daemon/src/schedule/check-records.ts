import type { Logger } from 'pino';
import { z } from 'zod';
import { replaceFile } from '../replace-file.js';
import { readSmallFile } from '../small-file.js';

/** Arrays that are remembered; of more, those whose last check is oldest are forgotten. One without superblocks is another one each time. */
const mostRecords = 1000;

/** Largest file that is read, in bytes. */
const mostBytes = 4 * 1024 * 1024;

const count = z.int().min(0);
/** Milliseconds since 1970. */
const time = z.number().min(0).max(8.64e15);

/** What the schedule knows of the checks of one array. */
const recordSchema = z.strictObject({
  /** When the last check was complete, or, before the first, when the array was first seen. Milliseconds since 1970. */
  due_from: time,
  /** When the last check was complete; null for none yet. */
  completed_at: time.nullable(),
  /** Blocks that disagreed in it. */
  mismatch_blocks: count,
  /** Where the check that is not complete goes on; null for none. */
  next_block: count.nullable(),
  /** Blocks that have disagreed in it so far. */
  mismatches_so_far: count,
  /** It is not begun, nor gone on with, before: it failed, or was ended on request. Milliseconds since 1970; null for any time. */
  not_before: time.nullable().default(null),
});

export type CheckRecord = z.infer<typeof recordSchema>;

const fileSchema = z.strictObject({ version: z.literal(1), arrays: z.record(z.guid(), recordSchema) });

/** The records of all arrays, by uuid, kept in a file. */
export class CheckRecords {
  readonly #path: string | null;
  readonly #log: Logger;
  readonly #records: Map<string, CheckRecord>;
  #saved = '';
  #isInTrouble = false;

  /** `path`: null for nowhere. */
  constructor(path: string | null, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.#records = new Map(path === null ? [] : Object.entries(read(path, log)));
  }

  get(uuid: string): CheckRecord | undefined {
    return this.#records.get(uuid);
  }

  set(uuid: string, record: CheckRecord): void {
    this.#records.set(uuid, record);
    if (this.#records.size <= mostRecords) return;
    const others = [...this.#records].filter(([other]) => other !== uuid);
    const [oldest] = others.reduce((a, b) => (b[1].due_from < a[1].due_from ? b : a));
    this.#records.delete(oldest);
  }

  /** Resolves when it is on stable media, or could not be written, which is logged. One at a time. */
  async save(): Promise<void> {
    if (this.#path === null) return;
    const text = `${JSON.stringify({ version: 1, arrays: Object.fromEntries(this.#records) }, null, 2)}\n`;
    if (text === this.#saved) return;
    try {
      await replaceFile(this.#path, text);
      this.#saved = text;
      this.#isInTrouble = false;
    } catch (error) {
      if (!this.#isInTrouble) this.#log.error({ path: this.#path, err: error }, 'how far checks have got cannot be saved');
      this.#isInTrouble = true;
    }
  }
}

/** A file that cannot be used costs a check that comes too late, and no more: it is said, and written over. */
function read(path: string, log: Logger): Record<string, CheckRecord> {
  try {
    return fileSchema.parse(JSON.parse(readSmallFile(path, mostBytes))).arrays;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn({ path, err: error }, 'what was known of earlier checks cannot be read: they are counted from now on');
    return {};
  }
}
