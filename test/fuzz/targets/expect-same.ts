import { isDeepStrictEqual } from 'node:util';

/** Throws, with both, if two values are not the same. */
export function expectSame(actual: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  const short = (value: unknown): string => JSON.stringify(value).slice(0, 1000);
  throw new Error(`${what}: ${short(actual)} instead of ${short(expected)}`);
}

/** Throws unless it is so. */
export function expectTrue(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}
