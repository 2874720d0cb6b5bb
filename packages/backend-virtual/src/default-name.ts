import type { BdevRegistry } from '@raidkit/bdev';

const next = new WeakMap<BdevRegistry, Map<string, number>>();

/**
 * Returns a name such as `Malloc0` for a device without one. No number is used twice, since a request may still wait for the
 * old device.
 */
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
