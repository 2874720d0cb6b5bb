import { readFileSync } from 'node:fs';
import { z } from 'zod';

const call = z.object({ method: z.string(), params: z.record(z.string(), z.unknown()).optional() });
/** SPDK writes related calls as a nested list. */
const entry = z.union([call, z.array(call)]);

/** SPDK's configuration file. Entries for subsystems that raidkit does not have are ignored. */
const configSchema = z.object({
  subsystems: z.array(z.object({ subsystem: z.string(), config: z.array(entry).nullable().optional() })),
});

/** A call of a configuration. */
export type ConfigCall = z.infer<typeof call>;

/** A call and its position in the file. */
export interface PlacedCall extends ConfigCall {
  readonly subsystem: string;
  /** Its position in the subsystem, from 1. */
  readonly place: number;
}

/** Reads a configuration file. Throws an error that names the file and position if it is not valid. */
export function readConfig(path: string): PlacedCall[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`the configuration ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  try {
    return parseConfig(text);
  } catch (error) {
    throw new Error(`the configuration ${path} is invalid: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

/** Parses a configuration's text. Throws an error that names the position if it is not valid. */
export function parseConfig(text: string): PlacedCall[] {
  const result = configSchema.safeParse(JSON.parse(text));
  if (!result.success) throw new Error(z.prettifyError(result.error));
  return result.data.subsystems.flatMap(({ subsystem, config }) =>
    (config ?? []).flat().map((one, index) => ({ ...one, subsystem, place: index + 1 })),
  );
}

/** Formats a configuration so that people can read it too. */
export function formatConfig(calls: readonly ConfigCall[]): string {
  const config = calls.map(({ method, params }) => (params === undefined ? { method } : { method, params }));
  return `${JSON.stringify({ subsystems: [{ subsystem: 'bdev', config }] }, null, 2)}\n`;
}
