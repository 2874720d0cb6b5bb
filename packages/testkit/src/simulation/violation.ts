import type { RaidArray } from '@raidkit/core';

/** Thrown when a rule is broken; the message starts with the rule. */
export class ViolationError extends Error {}

/** Describes an error for people, with its stack unless it is a violation. */
export function describeError(error: unknown): string {
  if (error instanceof ViolationError) return error.message;
  return error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
}

export function describeArray(array: RaidArray): string {
  const slots = array.slots.map(
    (slot) => `${String(slot.name)}${slot.isInSync ? '' : slot.isRebuilding ? ' (target)' : ' (out)'}`,
  );
  return `${array.state}, ${array.process === null ? 'no process' : array.process.type}, slots ${slots.join(', ')}${array.startError === null ? '' : `, trouble: ${array.startError}`}`;
}
