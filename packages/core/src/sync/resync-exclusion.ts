import type { Runtime } from '@raidkit/bdev';

/** An array with a background process. */
export interface Contender {
  readonly name: string;
  /** Name of the array whose process this one's waits for; null if there is none. */
  waitsFor: string | null;
  readonly io: { physicalDevices(): readonly string[] };
}

/**
 * Prevents that background processes of two arrays run on the same physical device at a time, because each would make the
 * other's disk seek.
 */
export class ResyncExclusion {
  readonly #working = new Map<Contender, ReadonlySet<string>>();
  #waiters: (() => void)[] = [];

  /**
   * Resolves to true when it is the array's turn; {@link release} must follow. Resolves to false as soon as `isOver` returns
   * true, which means that the process is not wanted any more; it is called at every {@link wake}.
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

  /** Resolves after this many milliseconds, or as soon as `isOver` returns true, which is called as for {@link take}. */
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
