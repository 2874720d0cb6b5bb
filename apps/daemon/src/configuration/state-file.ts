import { renameSync } from 'node:fs';
import { replaceFile } from '../replace-file.js';
import { readSmallFile } from '../small-file.js';
import { formatConfig, parseConfig } from './config-file.js';
import type { ConfigCall, PlacedCall } from './config-file.js';

/** Largest file that is read, in bytes. */
const mostBytes = 64 * 1024 * 1024;

/** What is found where the state file is to be. */
export type StateRead =
  | { kind: 'none' }
  | { kind: 'found'; calls: PlacedCall[] }
  /** It cannot be used, and has been renamed to `movedTo`, or stays where it is if that is null. */
  | { kind: 'damaged'; reason: string; movedTo: string | null };

/**
 * The file that keeps what has been set up by calls: SPDK's configuration format, so that it can be read, edited while the
 * daemon is down, and replayed. Replaced as a whole: after a crash it is the old one or the new one.
 */
export class StateFile {
  readonly path: string;
  #saved: string | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Reads it. One that cannot be parsed is renamed, so that it can be looked at and is not written over, unless `keepsDamaged`.
   * Throws if the file is there and cannot be read.
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

  /** Resolves when these calls are on stable media. One at a time. */
  async write(calls: readonly ConfigCall[]): Promise<void> {
    const text = formatConfig(calls);
    if (text === this.#saved) return;
    await replaceFile(this.path, text);
    this.#saved = text;
  }
}
