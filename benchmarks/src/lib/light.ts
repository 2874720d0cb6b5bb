import { fileURLToPath } from 'node:url';
import { run } from './commands.js';
import type { Measured } from './rounds.js';

const program = fileURLToPath(new URL('light-client.js', import.meta.url));

/** What the light client is to do. */
export interface LightJob {
  socketPath: string;
  /** Several with commas between: connections take them in turn. */
  exportName: string;
  direction: 'read' | 'write';
  blockBytes: number;
  depth: number;
  seconds: number;
  connections?: number;
}

/** Runs the light client against a server on a Unix socket; the value is operations a second. */
export async function runLight({
  socketPath,
  exportName,
  direction,
  blockBytes,
  depth,
  seconds,
  connections = 1,
}: LightJob): Promise<Measured> {
  const args = [program, socketPath, exportName, direction, blockBytes, depth, seconds, connections].map(String);
  const found = JSON.parse(await run(process.execPath, args)) as { ops: number; seconds: number; p50Us: number; p99Us: number };
  return { value: found.ops / found.seconds, ops: found.ops, p50Us: found.p50Us, p99Us: found.p99Us };
}
