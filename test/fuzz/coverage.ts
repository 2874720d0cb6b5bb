import { Session } from 'node:inspector';
import type { Profiler } from 'node:inspector';

/** Which parts of some source files have run, as V8 counts them. One at a time in a process. */
export class Coverage {
  readonly #session = new Session();
  readonly #isCovered: (url: string) => boolean;
  /** Of each function, by its place, the characters that have run: 1. */
  readonly #run = new Map<string, Uint8Array>();
  #size = 0;

  /** @param paths parts of the paths of the files that count */
  constructor(paths: readonly string[]) {
    this.#isCovered = (url) => paths.some((path) => url.includes(path));
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Characters of the sources that have run so far; those of functions in functions count for both. */
  get size(): number {
    return this.#size;
  }

  /** Forgets what has run since the last look. */
  reset(): void {
    this.#take();
  }

  /** Whether something has run since the last look that had not before; it is remembered if `keeps`. */
  hasNew(keeps: boolean): boolean {
    let hasNew = false;
    for (const { functions, url } of this.#take()) {
      if (!this.#isCovered(url)) continue;
      for (const { ranges } of functions) if (this.#add(url, ranges, keeps)) hasNew = true;
    }
    return hasNew;
  }

  end(): void {
    this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  /** The first range is the function; the others are parts of it that have run more or less often, those within others behind them. */
  #add(url: string, ranges: readonly Profiler.CoverageRange[], keeps: boolean): boolean {
    const [whole] = ranges;
    if (whole === undefined || whole.count === 0) return false;
    const length = whole.endOffset - whole.startOffset;
    const key = `${url} ${whole.startOffset}`;
    const before = this.#run.get(key) ?? new Uint8Array(length);
    const now = new Uint8Array(length);
    for (const { count, endOffset, startOffset } of ranges)
      now.fill(Math.min(count, 1), startOffset - whole.startOffset, endOffset - whole.startOffset);
    let added = 0;
    for (let at = 0; at < length; at++) if (now[at] === 1 && before[at] !== 1) added++;
    if (added === 0 || !keeps) return added > 0;
    for (let at = 0; at < length; at++) if (now[at] === 1) before[at] = 1;
    this.#run.set(key, before);
    this.#size += added;
    return true;
  }

  #take(): Profiler.ScriptCoverage[] {
    let found: Profiler.ScriptCoverage[] = [];
    // In the same thread the answer comes before this returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) throw error;
      found = answer.result;
    });
    return found;
  }
}
