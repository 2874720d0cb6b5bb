import type { Runtime } from '@raidkit/bdev';

/** An array with background work. */
export interface Contender {
  readonly name: string;
  /** Name of the array for whose work this one's waits; null if none. */
  waitsFor: string | null;
  readonly io: { physicalDevices(): readonly string[] };
}

/**
 * Whose turn it is: background work of two arrays does not run on one physical device at a time, where each would make the
 * other's disk seek.
 */
export class ResyncExclusion {
  readonly #working = new Map<Contender, ReadonlySet<string>>();
  #waiters: (() => void)[] = [];

  /**
   * Resolves with true when it is the array's turn; {@link release} follows. With false as soon as `isOver` says that the work
   * is not wanted any more, which it is asked at every {@link wake}.
   */
  async take(array: Contender, isOver: () => boolean): Promise<boolean> {
    const devices = new Set(array.io.physicalDevices());
    for (let other = this.#inTheWay(devices); other !== null && !isOver(); other = this.#inTheWay(devices)) {
      array.waitsFor = other.name;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
    array.waitsFor = null;
    if (isOver()) return false;
    this.#working.set(array, devices);
    return true;
  }

  release(array: Contender): void {
    this.#working.delete(array);
    this.wake();
  }

  /** Resolves after so many milliseconds, or as soon as `isOver`, which is asked as by {@link take}. */
  async rest(runtime: Runtime, ms: number, isOver: () => boolean): Promise<void> {
    const wait = { isDue: false };
    const timer = runtime.setTimer(() => {
      wait.isDue = true;
      this.wake();
    }, ms);
    while (!wait.isDue && !isOver()) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    runtime.clearTimer(timer);
  }

  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  #inTheWay(devices: ReadonlySet<string>): Contender | null {
    for (const [array, busy] of this.#working) for (const device of busy) if (devices.has(device)) return array;
    return null;
  }
}
