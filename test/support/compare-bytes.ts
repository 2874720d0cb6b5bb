import { expect } from 'vitest';

/* Vitest compares arrays element by element, which takes seconds for a MiB. What differs is still compared, and shown, its way. */
expect.addEqualityTesters([
  (a: unknown, b: unknown) => {
    const isSame =
      a instanceof Uint8Array && b instanceof Uint8Array && a.constructor === b.constructor && Buffer.compare(a, b) === 0;
    return isSame ? true : undefined;
  },
]);
