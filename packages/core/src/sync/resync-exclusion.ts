import type { RaidArray } from '../array/array.js';

/**
 * Whose turn it is: background work of two arrays does not run on one physical device at a time, where each would make the
 * other's disk seek.
 */
export class ResyncExclusion {
  readonly #working = new Map<RaidArray, ReadonlySet<string>>();
  #waiters: (() => void)[] = [];

  /**
   * Resolves with true when it is the array's turn; {@link release} follows. With false as soon as `isOver` says that the work
   * is not wanted any more, which it is asked at every {@link wake}.
   */
  async take(array: RaidArray, isOver: () => boolean): Promise<boolean> {
    const devices = new Set(array.io.physicalDevices());
    for (let other = this.#inTheWay(devices); other !== null; other = this.#inTheWay(devices)) {
      if (isOver()) return false;
      array.waitsFor ??= other.name;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    array.waitsFor = null;
    if (isOver()) return false;
    this.#working.set(array, devices);
    return true;
  }

  release(array: RaidArray): void {
    this.#working.delete(array);
    this.wake();
  }

  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  #inTheWay(devices: ReadonlySet<string>): RaidArray | null {
    for (const [array, busy] of this.#working) for (const device of busy) if (devices.has(device)) return array;
    return null;
  }
}
