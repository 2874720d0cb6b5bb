import type { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';

/**
 * Arrays are known by uuid; a name is only what people call one. Two arrays may have the same name on record (one was
 * destroyed while a member was away, say). The name belongs to the one that is up under it, or that is complete first; the
 * other is listed with the beginning of its uuid behind the name, and keeps the name in its superblocks.
 */

/** The name under which an array is listed: the one on record, if that is free. Null if there is none for it. */
export function freeName(ctx: RaidContext, recordedName: string, uuid: string): string | null {
  const candidates = [recordedName, `${recordedName}-${uuid.slice(0, 8)}`, `${recordedName}-${uuid}`];
  return candidates.find((name) => !ctx.arrays.has(name) && ctx.registry.get(name) === undefined) ?? null;
}

/** Other arrays that have the same name on record. */
export function namesakes(ctx: RaidContext, array: RaidArray): RaidArray[] {
  return [...ctx.arrays.values()].filter((other) => other !== array && other.recordedName === array.recordedName);
}

/** The array is complete: it takes its name from one that only waits for its members. */
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
    `the name ${recordedName} is taken: the array comes up as ${array.name}`,
  );
}

/** False, and nothing has changed, if another reactor has the name. */
function rename(ctx: RaidContext, array: RaidArray, name: string): boolean {
  const before = array.name;
  const refusal = ctx.arrayNames.rename(before, name);
  if (refusal !== null) return false;
  ctx.arrays.delete(before);
  array.name = name;
  ctx.arrays.set(name, array);
  array.log.warn(
    { ...array.logFields(), uuid: array.uuid },
    `the array that was listed as ${before} is listed as ${name}: two arrays have one name`,
  );
  return true;
}
