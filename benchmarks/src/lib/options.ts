import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** What every benchmark is told. */
export interface BenchOptions {
  rounds: number;
  /** Length of one measurement. */
  seconds: number;
  /** Whether a case is wanted: its id contains one of the words of `--only`, or there are none. */
  isWanted(id: string): boolean;
  /** A folder for sockets and files of this run alone; gone at its end. */
  folder: string;
  /** Where results go; null for the terminal alone. */
  resultsName: string | null;
}

/** Reads the command line. */
export function readOptions(name: string, defaults: { rounds: number; seconds: number }): BenchOptions {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: String(defaults.rounds) },
      seconds: { type: 'string', default: String(defaults.seconds) },
      /** Parts of the names of cases, with commas between. */
      only: { type: 'string', default: '' },
      /** Where files and sockets are made: a folder on the file system to be measured. */
      dir: { type: 'string', default: tmpdir() },
      /** Name of the results' files; empty for none. */
      results: { type: 'string', default: name },
    },
  });
  const words = values.only.split(',').filter((word) => word !== '');
  const folder = mkdtempSync(join(values.dir, 'raidkit-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const number = (option: 'rounds' | 'seconds'): number => {
    const value = Number(values[option]);
    if (!(value > 0)) throw new Error(`--${option} must be a number above 0, not ${values[option]}`);
    return value;
  };
  return {
    rounds: number('rounds'),
    seconds: number('seconds'),
    isWanted: (id) => words.length === 0 || words.some((word) => id.includes(word)),
    folder,
    resultsName: values.results === '' ? null : values.results,
  };
}
