import type { Logger } from 'pino';
import { z } from 'zod';
import { replaceFile } from '../replace-file.js';
import { readSmallFile } from '../small-file.js';

/**
 * Number of arrays that are remembered; beyond it, those whose last check is oldest are dropped. An array without superblocks
 * counts as a new one each time.
 */
const mostRecords = 1000;

/** Size limit of the file, in bytes. */
const mostBytes = 4 * 1024 * 1024;

const count = z.int().min(0);
/** Milliseconds since 1970. */
const time = z.number().min(0).max(8.64e15);

/** Record of one array's checks. */
const recordSchema = z.strictObject({
  /** When the last check was completed or, before the first, when the array was first seen. Milliseconds since 1970. */
  due_from: time,
  /** When the last check was completed; null if none was. */
  completed_at: time.nullable(),
  /** Mismatches found by that check, in blocks. */
  mismatch_blocks: count,
  /** Block at which an incomplete check continues; null if there is none. */
  next_block: count.nullable(),
  /** Mismatches found by the incomplete check so far, in blocks. */
  mismatches_so_far: count,
  /**
   * Earliest time to start or continue a check, because one failed or was ended on request. Milliseconds since 1970; null for
   * any time.
   */
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

  /** `path`: null if nothing is saved. */
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

  /**
   * Saves the records. Resolves when they are on stable media or could not be written, which is logged. Only one call may run
   * at a time.
   */
  async save(): Promise<void> {
    if (this.#path === null) return;
    const text = `${JSON.stringify({ version: 1, arrays: Object.fromEntries(this.#records) }, null, 2)}\n`;
    if (text === this.#saved) return;
    try {
      await replaceFile(this.#path, text);
      this.#saved = text;
      this.#isInTrouble = false;
    } catch (error) {
      if (!this.#isInTrouble) this.#log.error({ path: this.#path, err: error }, 'the progress of checks cannot be saved');
      this.#isInTrouble = true;
    }
  }
}

/** Reads the records. A file that cannot be used only delays checks: it is logged and overwritten. */
function read(path: string, log: Logger): Record<string, CheckRecord> {
  try {
    return fileSchema.parse(JSON.parse(readSmallFile(path, mostBytes))).arrays;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn({ path, err: error }, 'the record of earlier checks cannot be read: it starts again');
    return {};
  }
}
