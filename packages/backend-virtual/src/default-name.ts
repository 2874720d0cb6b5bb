import type { BdevRegistry } from '@raidkit/bdev';

const next = new WeakMap<BdevRegistry, Map<string, number>>();

/** `Malloc0`, `Malloc1` … for a device without a name. No number comes twice, as a request may still wait for the old one. */
export function defaultName(registry: BdevRegistry, prefix: string): string {
  let counters = next.get(registry);
  if (counters === undefined) next.set(registry, (counters = new Map<string, number>()));
  for (let number = counters.get(prefix) ?? 0; ; number++) {
    const name = `${prefix}${number}`;
    if (registry.get(name) !== undefined) continue;
    counters.set(prefix, number + 1);
    return name;
  }
}
