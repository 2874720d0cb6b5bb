import type { RaidkitEvent } from '../event.js';
import { oneLine, runProgram } from './run-program.js';
import type { Sink } from './sink.js';

/** A program that is run for each event. */
export interface ProgramOptions {
  /** Absolute path. */
  path: string;
  /** Time limit per event in milliseconds, after which it is killed. Default 30,000. */
  limitMs?: number;
}

/**
 * Runs the program like `mdadm --monitor --program`: with the event, the array and, if there is one, the device as arguments.
 */
export function programSink({ path, limitMs = 30_000 }: ProgramOptions): Sink {
  return {
    name: 'program',
    where: path,
    tries: 1,
    wants: () => true,
    tell(event, signal) {
      const { array, device } = event;
      const args = [event.event, array ?? '', ...(device === null ? [] : [device])].map(oneLine);
      return runProgram({ path, args, env: environmentOf(event), limitMs, signal });
    },
  };
}

function environmentOf(event: RaidkitEvent): Record<string, string> {
  return {
    RAIDKIT_EVENT: event.event,
    RAIDKIT_ID: String(event.id),
    RAIDKIT_TIME: event.time,
    RAIDKIT_SEVERITY: event.severity,
    RAIDKIT_ARRAY: oneLine(event.array ?? ''),
    RAIDKIT_DEVICE: oneLine(event.device ?? ''),
    RAIDKIT_MESSAGE: oneLine(event.message),
  };
}
