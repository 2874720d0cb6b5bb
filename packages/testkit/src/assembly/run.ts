import type { LevelOptions, RaidModule, SuperblockStore } from '@raidkit/core';
import { SimMemory } from '../sim-memory.js';
import { assemblyCases } from './cases.js';
import type { AssemblyCase } from './cases.js';
import { checkAssembly } from './check.js';
import { makeHistories } from './histories.js';
import type { Spoiler } from './histories.js';

/** Options of {@link runAssembly}. */
export interface AssemblyOptions {
  module: RaidModule;
  store: SuperblockStore;
  numSlots: number;
  /** Level options. Default: none. */
  levelOptions?: LevelOptions;
  /** Ways to damage metadata that require knowledge of the format. */
  spoilers?: readonly Spoiler[];
  /**
   * Whether members may come back with old contents although no superblock records that they were absent, which a level with
   * nothing but superblocks cannot detect. Default false.
   */
  hasOldImages?: boolean;
  /** Whether to include disks whose last start was interrupted at each of its writes. Default true. */
  hasTornImages?: boolean;
  /** Runs only every n-th case. Default 1: all. */
  every?: number;
  /** Index of the first case to run. Default 0. */
  from?: number;
}

/** A case that failed. */
export interface AssemblyFailure {
  /** Index of the case. */
  index: number;
  /** The disks that were found, in words. */
  found: string;
  message: string;
}

/** Result of {@link runAssembly}. */
export interface AssemblyResult {
  cases: number;
  rightData: number;
  refused: number;
  failures: AssemblyFailure[];
}

const memoryBytes = 64 * 1024 * 1024;

/**
 * Assembles an array from every subset of its disks, in every order, each with contents that a crash, a person or another
 * program may have left. Every case must end with the right data or a refusal; with enough current members it must be the data.
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
