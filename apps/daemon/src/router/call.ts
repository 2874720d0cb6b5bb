/** A call that has not been checked: a reactor refuses whatever is wrong with it. */
export interface Call {
  readonly name: string;
  readonly params: unknown;
}

/** Returns a parameter if it is a string. */
export function textOf(call: Call, key: string): string | undefined {
  const value = valueOf(call, key);
  return typeof value === 'string' ? value : undefined;
}

/** Returns a parameter if it is an integer of 0 or more. */
export function numberOf(call: Call, key: string): number | undefined {
  const value = valueOf(call, key);
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}

/** Returns the strings in a list parameter. */
export function textsOf(call: Call, key: string): string[] {
  const value = valueOf(call, key);
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}

function valueOf({ params }: Call, key: string): unknown {
  return typeof params === 'object' && params !== null ? (params as Record<string, unknown>)[key] : undefined;
}
