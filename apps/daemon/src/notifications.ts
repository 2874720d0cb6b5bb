/** Notifications that are kept; older ones are forgotten. As in SPDK. */
const mostKept = 1024;

/** A device has come or gone. */
export interface Notification {
  type: 'bdev_register' | 'bdev_unregister';
  /** The device's name. */
  ctx: string;
  /** Grows by one from notification to notification, from 0. */
  id: number;
}

/** What SPDK's `notify_get_notifications` answers from. */
export class Notifications {
  readonly #kept: Notification[] = [];
  #nextId = 0;

  add(type: Notification['type'], ctx: string): void {
    this.#kept.push({ type, ctx, id: this.#nextId++ });
    if (this.#kept.length > mostKept) this.#kept.shift();
  }

  /** At most `max` of those that are kept, from `id` on. */
  list(id: number, max: number): Notification[] {
    const first = this.#nextId - this.#kept.length;
    const from = Math.max(id - first, 0);
    return this.#kept.slice(from, from + max);
  }
}
