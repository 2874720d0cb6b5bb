import { renameSync } from 'node:fs';
import { replaceFile } from '../replace-file.js';
import { readSmallFile } from '../small-file.js';
import { formatConfig, parseConfig } from './config-file.js';
import type { ConfigCall, PlacedCall } from './config-file.js';

/** Size limit of the file, in bytes. */
const mostBytes = 64 * 1024 * 1024;

/** Result of reading the state file. */
export type StateRead =
  | { kind: 'none' }
  | { kind: 'found'; calls: PlacedCall[] }
  /** The file cannot be used. It was renamed to `movedTo`, or left in place if that is null. */
  | { kind: 'damaged'; reason: string; movedTo: string | null };

/**
 * Keeps what calls have set up, in SPDK's configuration format, so that it can be read, edited while the daemon is down, and
 * replayed. The file is replaced atomically: after a crash it is the old or the new one.
 */
export class StateFile {
  readonly path: string;
  #saved: string | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Reads the file. A file that cannot be parsed is renamed, unless `keepsDamaged`, so that it can be inspected and is not
   * overwritten. Throws if the file exists and cannot be read.
   */
  read({ keepsDamaged = false }: { keepsDamaged?: boolean } = {}): StateRead {
    let text: string;
    try {
      text = readSmallFile(this.path, mostBytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'none' };
      throw new Error(`the state file ${this.path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
    try {
      const calls = parseConfig(text);
      this.#saved = text;
      return { kind: 'found', calls };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (keepsDamaged) return { kind: 'damaged', reason, movedTo: null };
      const movedTo = `${this.path}.damaged-${Date.now()}`;
      try {
        renameSync(this.path, movedTo);
      } catch {
        return { kind: 'damaged', reason, movedTo: null };
      }
      return { kind: 'damaged', reason, movedTo };
    }
  }

  /** Writes the calls; resolves when they are on stable media. Only one write may run at a time. */
  async write(calls: readonly ConfigCall[]): Promise<void> {
    const text = formatConfig(calls);
    if (text === this.#saved) return;
    await replaceFile(this.path, text);
    this.#saved = text;
  }
}
