import { RaidArray } from '../array/array.js';
import type { RaidContext } from '../array/context.js';
import { startIfComplete } from '../assembly/assemble.js';
import { RaidError } from '../errors.js';
import { newUuid, nullUuid, Status } from '@raidkit/bdev';
import { configureMember } from '../membership/join.js';
import { closeArray } from '../membership/remove.js';
import { bringOnline } from '../start/start.js';
import { clearSuperblocks, undeclare } from './clear.js';
import { checkCreateOptions } from './create-options.js';
import type { CreateArrayOptions } from './create-options.js';

/**
 * Creates an array. Resolves when it is online and its superblocks are written or, if members are missing, when it waits for
 * them. On an error nothing is left behind.
 */
export async function createArray(ctx: RaidContext, options: CreateArrayOptions): Promise<RaidArray> {
  if (ctx.retries.isStopped)
    throw new RaidError('ERR_RAID_INVALID', Status.Invalid, `array ${options.name}: the arrays have been stopped`);
  const { module, levelOptions, store } = checkCreateOptions(ctx, options);
  const given = options.uuid?.toLowerCase() ?? nullUuid;
  const uuid = given !== nullUuid || store === null ? given : newUuid(ctx.registry.runtime);
  const array = new RaidArray(
    {
      name: options.name,
      uuid,
      module,
      stripSizeKb: options.stripSizeKb ?? 0,
      slotNames: options.baseBdevs,
      store,
      levelOptions,
      isForced: options.force ?? false,
      hasIntegrity: options.integrity ?? false,
      outerUuid: nullUuid,
    },
    ctx,
  );
  const refusal = ctx.arrayNames.enter(array.name, uuid);
  if (refusal !== null) throw new RaidError('ERR_RAID_EXISTS', Status.Exists, `array ${array.name}: ${refusal}`);
  if (options.reads?.policy !== undefined) array.setReadPolicy(options.reads.policy);
  for (const slot of array.slots) slot.setReadPreference(options.reads?.members?.[slot.name ?? ''] ?? slot.readPreference);
  array.expectMembers(options.baseBdevs.filter((member) => member !== null).length);
  ctx.list(array);
  await array.lifecycle.create(
    () => compose(ctx, array),
    () => undoCreate(ctx, array, options.baseBdevs),
  );
  return array;
}

/** Adds the members that exist to a new array, and starts it if these are all. */
async function compose(ctx: RaidContext, array: RaidArray): Promise<void> {
  for (const slot of array.slots) {
    const bdev = slot.name === null ? undefined : ctx.registry.get(slot.name);
    if (bdev?.state === 'registered') await configureMember(ctx, array, slot, bdev);
    array.lifecycle.mustGoOn();
  }
  // Only now, because a running examination could add a device which the creation is about to open.
  array.lifecycle.isComposed();
  if (array.numDiscovered === array.numOperational) await bringOnline(ctx, array);
  else await takeLate(ctx, array);
  array.lifecycle.mustGoOn();
}

/** Adds devices that appeared while the others were being examined. */
async function takeLate(ctx: RaidContext, array: RaidArray): Promise<void> {
  for (const slot of array.slots) {
    const bdev = slot.awaitedName === null ? undefined : ctx.registry.get(slot.awaitedName);
    if (slot.descriptor === null && bdev?.state === 'registered') await configureMember(ctx, array, slot, bdev);
  }
  await startIfComplete(ctx, array);
}

async function undoCreate(ctx: RaidContext, array: RaidArray, wanted: readonly (string | null)[]): Promise<void> {
  await array.lifecycle.whenIdle();
  await closeArray(ctx, array, 'its creation failed').catch((error: unknown) => {
    array.log.error({ ...array.logFields(), err: error }, 'a failed creation was not undone cleanly');
  });
  if (array.store === null) return;
  const members = wanted
    .flatMap((name) => (name === null ? [] : (ctx.registry.get(name) ?? [])))
    .filter(({ state }) => state === 'registered');
  // Only superblocks that this creation wrote are cleared: a device with another superblock was refused and never joined.
  const cleared =
    array.metadata.seqNumber === 0
      ? Promise.all(members.map((bdev) => undeclare(ctx, bdev, array.uuid)))
      : clearSuperblocks(ctx, array, array.store, members);
  await cleared.catch((error: unknown) => {
    array.log.error({ ...array.logFields(), err: error }, 'superblocks of a failed creation could not be cleared');
  });
}
