import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { z } from 'zod';

const count = z.int().min(0);
/** Errors of a member, and blocks of it that were rewritten. */
const countsSchema = z.strictObject({ read: count, write: count, repaired: count });

/** Background work that has ended, as `raidkit_get_arrays` has it. */
const recordSchema = z.looseObject({ type: z.string(), started_at: z.number() });

const arraySchema = z.strictObject({
  /** By the members' uuids. */
  members: z.record(z.string(), countsSchema),
  /** What the slots, in their order, had counted by themselves when it was written. */
  slots: z.array(countsSchema),
  /** The last first. */
  history: z.array(recordSchema),
});

const fileSchema = z.strictObject({ version: z.literal(1), arrays: z.record(z.string(), arraySchema) });

export type Counts = z.infer<typeof countsSchema>;
export type HistoryRecord = z.infer<typeof recordSchema>;
export type LastingArray = z.infer<typeof arraySchema>;

/** What earlier runs have left, by the arrays' uuids. A file that cannot be used costs old figures, and no more: it is said, and written over. */
export function readLasting(path: string, log: Logger): Map<string, LastingArray> {
  try {
    return new Map(Object.entries(fileSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).arrays));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn({ path, err: error }, 'errors and history of earlier runs cannot be read: they are counted from now on');
    return new Map();
  }
}

export function formatLasting(arrays: ReadonlyMap<string, LastingArray>): string {
  return `${JSON.stringify({ version: 1, arrays: Object.fromEntries(arrays) }, null, 2)}\n`;
}
