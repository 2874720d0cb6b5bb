import type { Logger } from 'pino';
import { z } from 'zod';
import { readSmallFile } from '../small-file.js';

/** Number of records of ended background processes per array. */
export const mostRecords = 20;
/** Number of unreadable ranges per record. */
const mostRanges = 1000;

/** Size limit of the file in bytes: a thousand arrays have about 10 MiB. */
const mostBytes = 64 * 1024 * 1024;

const count = z.int().min(0);
/** Errors of a member, and its blocks that were rewritten. Older files have no checksum errors. */
const countsSchema = z.strictObject({ read: count, write: count, repaired: count, checksum: count.default(0) });

const text = z.string().max(4096);
/** Milliseconds since 1970. */
const time = z.number().min(0).max(8.64e15);
const uuid = z.guid();

/** A background process that has ended, as `raidkit_get_arrays` shows it. */
const recordSchema = z.object({
  type: text,
  target: text.nullable(),
  /** Absent in older files. */
  targets: z.array(text).max(255).default([]),
  started_at: time,
  seconds: z.number().min(0),
  from_block: count.default(0),
  blocks: count,
  mismatch_blocks: count,
  /** Absent in older files. */
  mismatches: z
    .array(z.object({ slot: count, offset_blocks: count, num_blocks: count, is_located: z.boolean() }))
    .max(mostRanges)
    .default([]),
  repaired_blocks: count,
  undecided_blocks: count,
  unreadable_blocks: count,
  lost_blocks: count,
  /** Absent in older files. */
  unproven_blocks: count.default(0),
  unreadable: z
    .array(z.object({ slot: count, member_offset_blocks: count, num_blocks: count, is_lost: z.boolean() }))
    .max(mostRanges),
  error: text.nullable(),
});

const arraySchema = z.strictObject({
  /** Totals by member uuid. */
  members: z.record(uuid, countsSchema),
  /** The slots' own counters, in order, when the file was written. */
  slots: z.array(countsSchema).max(255),
  /** The last member of each slot, in order; null if it is not known. Absent in older files. */
  devices: z
    .array(z.strictObject({ name: text, uuid, serial: text.nullable() }).nullable())
    .max(255)
    .default([]),
  /** Records, the latest first. */
  history: z.array(recordSchema).max(mostRecords),
});

const fileSchema = z.strictObject({ version: z.literal(1), arrays: z.record(uuid, arraySchema) });

export type Counts = z.infer<typeof countsSchema>;
export type HistoryRecord = z.infer<typeof recordSchema>;
export type LastingArray = z.infer<typeof arraySchema>;

/**
 * Reads what earlier runs have saved, by array uuid. A file that cannot be used only loses old counts: it is logged and
 * overwritten.
 */
export function readLasting(path: string, log: Logger): Map<string, LastingArray> {
  try {
    return new Map(Object.entries(fileSchema.parse(JSON.parse(readSmallFile(path, mostBytes))).arrays));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn({ path, err: error }, 'error counts and history of earlier runs cannot be read: they start again');
    return new Map();
  }
}

export function formatLasting(arrays: ReadonlyMap<string, LastingArray>): string {
  return `${JSON.stringify({ version: 1, arrays: Object.fromEntries(arrays) }, null, 2)}\n`;
}
