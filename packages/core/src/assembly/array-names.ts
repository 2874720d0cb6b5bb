import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';

/**
 * Arrays are identified by uuid. Two of them may have the same recorded name, for example if one was destroyed while a member
 * was absent. The name belongs to the array that is online under it, or that is complete first. The other one is listed under
 * its name with the beginning of its uuid appended, and its superblocks keep the name.
 */

/** Returns the name under which to list an array: the recorded name if it is free. Null if no name is free. */
export function freeName(ctx: RaidContext, recordedName: string, uuid: string): string | null {
  const candidates = [recordedName, `${recordedName}-${uuid.slice(0, 8)}`, `${recordedName}-${uuid}`];
  return candidates.find((name) => !ctx.arrays.has(name) && ctx.registry.get(name) === undefined) ?? null;
}

/** Returns the other arrays with the same recorded name. */
export function namesakes(ctx: RaidContext, array: RaidArray): RaidArray[] {
  return [...ctx.arrays.values()].filter((other) => other !== array && other.recordedName === array.recordedName);
}

/** Gives a complete array its recorded name, taking it from an array that is still waiting for members. */
export function takeName(ctx: RaidContext, array: RaidArray): void {
  const { recordedName } = array;
  if (array.name === recordedName) return;
  const holder = ctx.arrays.get(recordedName);
  if (holder?.isAssembled === true && holder.state === 'configuring' && !holder.isStarting) {
    const other = freeName(ctx, recordedName, holder.uuid);
    if (other !== null) rename(ctx, holder, other);
  }
  const isFree = !ctx.arrays.has(recordedName) && ctx.registry.get(recordedName) === undefined;
  if (isFree && rename(ctx, array, recordedName)) return;
  array.log.error(
    { ...array.logFields(), uuid: array.uuid },
    `the name ${recordedName} is taken: the array is named ${array.name}`,
  );
}

/** Returns false, without changing anything, if an array of another reactor has the name. */
function rename(ctx: RaidContext, array: RaidArray, name: string): boolean {
  const before = array.name;
  const refusal = ctx.arrayNames.rename(before, name);
  if (refusal !== null) return false;
  ctx.unlist(before);
  array.name = name;
  ctx.list(array);
  array.log.warn(
    { ...array.logFields(), uuid: array.uuid },
    `the array ${before} is renamed to ${name}: two arrays have the same name`,
  );
  return true;
}
