import type { PlanItem } from './plan-items.js';
import { SimMemory } from './sim-memory.js';
import { memoryBytes, simulate } from './simulation/simulate.js';
import type { SimOptions, SimResult } from './simulation/simulate.js';

/** Options of {@link shrink}. */
export interface ShrinkOptions {
  /** Maximum number of simulations. Default 300. */
  most?: number;
}

/**
 * Minimizes a failing simulation: leaves out items of its plan, in halves, quarters and so on, as long as it still breaks the
 * same rule. Returns the smallest result found; `failing` itself if nothing could be left out.
 */
export async function shrink(options: SimOptions, failing: SimResult, { most = 300 }: ShrinkOptions = {}): Promise<SimResult> {
  if (failing.violation === null) throw new RangeError(`seed ${failing.seed} breaks no rule: there is nothing to shrink`);
  const memory = options.memory ?? new SimMemory({ bytes: memoryBytes });
  const rule = ruleOf(failing);
  let best = failing;
  let left = most;
  const stillFails = async (items: PlanItem[]): Promise<boolean> => {
    left--;
    const result = await simulate({ ...options, memory, plan: { ...failing.plan, items } });
    if (ruleOf(result) !== rule) return false;
    best = result;
    return true;
  };
  let pieces = 2;
  while (left > 0 && best.plan.items.length > 1) {
    const { items } = best.plan;
    const size = Math.ceil(items.length / pieces);
    let isSmaller = false;
    for (let at = 0; at < items.length && left > 0; at += size) {
      if (await stillFails([...items.slice(0, at), ...items.slice(at + size)])) {
        isSmaller = true;
        break;
      }
    }
    if (isSmaller) pieces = Math.max(2, pieces - 1);
    else if (size === 1) break;
    else pieces = Math.min(items.length, pieces * 2);
  }
  return best;
}

/** The rule that was broken, without details: `G8`. */
function ruleOf({ violation }: SimResult): string {
  return violation === null ? '' : (/^G[0-9/G]*/.exec(violation)?.[0] ?? 'other');
}
