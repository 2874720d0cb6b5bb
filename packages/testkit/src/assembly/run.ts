import type { LevelOptions, RaidModule, SuperblockStore } from '@raidkit/core';
import { SimMemory } from '../sim-memory.js';
import { assemblyCases } from './cases.js';
import type { AssemblyCase } from './cases.js';
import { checkAssembly } from './check.js';
import { makeHistories } from './histories.js';
import type { Spoiler } from './histories.js';

/** What to put together. */
export interface AssemblyOptions {
  module: RaidModule;
  store: SuperblockStore;
  numSlots: number;
  /** Options of the level. Default: none. */
  levelOptions?: LevelOptions;
  /** Ways to spoil what is in front of the data which take knowledge of the format. */
  spoilers?: readonly Spoiler[];
  /**
   * Members may come back as they were a while ago, although no superblock says that they were away: a level that keeps
   * nothing but superblocks cannot tell. Default false.
   */
  hasOldImages?: boolean;
  /** Disks whose last start was cut short at each of its writes. Default true. */
  hasTornImages?: boolean;
  /** Only every so many-th case. Default 1: all. */
  every?: number;
  /** The first case to be run. Default 0. */
  from?: number;
}

/** A case that did not end as it must. */
export interface AssemblyFailure {
  /** Its place in the enumeration. */
  index: number;
  /** What was found, for people. */
  found: string;
  message: string;
}

/** What came of them. */
export interface AssemblyResult {
  cases: number;
  rightData: number;
  refused: number;
  failures: AssemblyFailure[];
}

const memoryBytes = 64 * 1024 * 1024;

/**
 * Puts an array together from every subset of its disks, in every order, each carrying what a crash, a person or another
 * program may have left on it. Every case must end in the right data or in a refusal; with enough current members, in the data.
 */
export async function runAssembly(options: AssemblyOptions): Promise<AssemblyResult> {
  const { module, store, numSlots, levelOptions = {}, spoilers = [], every = 1, from = 0 } = options;
  const { hasOldImages = false, hasTornImages = true } = options;
  const parts = { module, store, levelOptions, memory: new SimMemory({ bytes: memoryBytes }) };
  const result: AssemblyResult = { cases: 0, rightData: 0, refused: 0, failures: [] };
  let index = -1;
  for (const history of await makeHistories(parts, numSlots, spoilers, hasOldImages)) {
    for (const one of assemblyCases(history, hasTornImages)) {
      index++;
      if (index < from || (index - from) % every !== 0) continue;
      result.cases++;
      try {
        if ((await checkAssembly(parts, one)) === 'refused') result.refused++;
        else result.rightData++;
      } catch (error) {
        result.failures.push({
          index,
          found: describeCase(one),
          message: error instanceof Error ? error.message : String(error),
        });
      }
    }
  }
  return result;
}

function describeCase({ history, arrivals }: AssemblyCase): string {
  return `${history.id}: ${arrivals.map(({ slot, image }) => `slot ${slot} ${image}`).join(', then ')}`;
}
