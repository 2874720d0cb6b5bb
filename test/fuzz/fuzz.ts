import { resourceUsage } from 'node:process';
import { Coverage } from './coverage.js';
import { HangWatch } from './hang-watch.js';
import { mutate, seeded } from './mutate.js';

/** A parser, and what must hold of it whatever it is given. */
export interface Target {
  readonly name: string;
  /** Parts of the paths of its sources: an input that has something new of them run is kept, and mutated further. */
  readonly covers: readonly string[];
  readonly seeds: readonly Uint8Array[];
  /** Texts that mutations insert. */
  readonly words?: readonly string[];
  /** Inputs are as long as the seeds. */
  readonly keepsLength?: boolean;
  readonly mostBytes?: number;
  /** Gives a mutated input the checksum, and whatever else it takes, that lets it past the first look. */
  mend?(bytes: Uint8Array): Uint8Array;
  /** Throws if something does not hold. */
  run(bytes: Uint8Array): void | Promise<void>;
  /** After the last input. Throws if something is left over. */
  end?(): void | Promise<void>;
}

/** How much is tried. */
export interface Budget {
  seconds: number;
  /** No more are tried, those that are looked at again included. */
  mostInputs: number;
  seed: number;
  /** Inputs of earlier runs. */
  corpus: readonly Uint8Array[];
}

/** The result of a run. */
export interface Outcome {
  inputs: number;
  /** Blocks of the sources that have run. */
  blocks: number;
  /** Inputs that had something new run, the seeds and the earlier ones left out. */
  kept: Uint8Array[];
}

/** Inputs between two looks at what has run. */
const batchInputs = 64;
/** Of the mutated inputs that are mended, this part. */
const mendedPart = 0.85;
/** One input must not take longer, in seconds, on a machine with other load. */
const hangSeconds = 20;
/** What parsing may make the process grow by, in KiB: none of the inputs has more than 64 KiB. */
const mostGrowthKib = 512 * 1024;

/** Fuzzes the target; rejects with the first input for which something does not hold. */
export async function fuzz(target: Target, { corpus: earlier, mostInputs, seconds, seed }: Budget): Promise<Outcome> {
  const random = seeded(seed);
  const corpus = [...target.seeds, ...earlier];
  const watch = new HangWatch(target.name, hangSeconds);
  const coverage = new Coverage(target.covers);
  const words = (target.words ?? []).map((word) => new TextEncoder().encode(word));
  const { keepsLength = false, mostBytes = 4096 } = target;
  const kept: Uint8Array[] = [];
  let inputs = 0;

  const run = async (bytes: Uint8Array): Promise<void> => {
    watch.begin(bytes);
    try {
      // A promise for each input would be most of the time for the quick ones.
      const running = target.run(bytes);
      if (running !== undefined) await running;
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`${target.name}, seed ${seed}: ${why}\ninput, in base64: ${Buffer.from(bytes).toString('base64')}`, {
        cause,
      });
    } finally {
      watch.over();
    }
    inputs++;
  };
  const runAll = async (list: readonly Uint8Array[]): Promise<void> => {
    for (const bytes of list) await run(bytes);
  };
  /** Returns the inputs of a batch that run new code. */
  const findNew = async (list: readonly Uint8Array[]): Promise<void> => {
    const [only] = list;
    if (only === undefined) return;
    coverage.reset();
    await runAll(list);
    if (!coverage.hasNew(list.length === 1)) return;
    if (list.length === 1) {
      corpus.push(only);
      kept.push(only);
      return;
    }
    const half = list.length >> 1;
    await findNew(list.slice(0, half));
    await findNew(list.slice(half));
  };

  try {
    await runAll(corpus);
    coverage.hasNew(true);
    const { maxRSS } = resourceUsage();
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end && inputs < mostInputs) {
      const batch = Array.from({ length: batchInputs }, () => {
        // Inputs that were found last are mutated more often than others.
        const place = random() < 0.5 ? random() : 1 - random() ** 3;
        const from = corpus[Math.floor(place * corpus.length)] ?? new Uint8Array();
        const bytes = mutate(from, random, { corpus, words, keepsLength, mostBytes });
        return target.mend === undefined || random() > mendedPart ? bytes : target.mend(bytes);
      });
      coverage.reset();
      await runAll(batch);
      if (coverage.hasNew(false)) await findNew(batch);
    }
    const growth = resourceUsage().maxRSS - maxRSS;
    if (growth > mostGrowthKib) throw new Error(`${target.name}, seed ${seed}: the process has grown by ${growth} KiB`);
    await target.end?.();
    return { inputs, blocks: coverage.size, kept };
  } finally {
    coverage.end();
    await watch.end();
  }
}
