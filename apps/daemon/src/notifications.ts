/** Number of notifications kept, as in SPDK; older ones are dropped. */
const mostKept = 1024;

/** A device was registered or unregistered. */
export interface Notification {
  type: 'bdev_register' | 'bdev_unregister';
  /** The device's name. */
  ctx: string;
  /** Increases by one with each notification, from 0. */
  id: number;
}

/** The notifications that SPDK's `notify_get_notifications` returns. */
export class Notifications {
  readonly #kept: Notification[] = [];
  #nextId = 0;

  add(type: Notification['type'], ctx: string): void {
    this.#kept.push({ type, ctx, id: this.#nextId++ });
    if (this.#kept.length > mostKept) this.#kept.shift();
  }

  /** Returns at most `max` kept notifications, from `id` on. */
  list(id: number, max: number): Notification[] {
    const first = this.#nextId - this.#kept.length;
    const from = Math.max(id - first, 0);
    return this.#kept.slice(from, from + max);
  }
}
