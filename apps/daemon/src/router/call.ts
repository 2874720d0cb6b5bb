/** A call that has not been looked at: whatever is wrong with it, a reactor says so. */
export interface Call {
  readonly name: string;
  readonly params: unknown;
}

/** A parameter, if it is a text. */
export function textOf(call: Call, key: string): string | undefined {
  const value = valueOf(call, key);
  return typeof value === 'string' ? value : undefined;
}

/** A parameter, if it is a number that counts or names something. */
export function numberOf(call: Call, key: string): number | undefined {
  const value = valueOf(call, key);
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}

/** The texts in a list. */
export function textsOf(call: Call, key: string): string[] {
  const value = valueOf(call, key);
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}

function valueOf({ params }: Call, key: string): unknown {
  return typeof params === 'object' && params !== null ? (params as Record<string, unknown>)[key] : undefined;
}
