import type { RaidArray } from './array.js';
import type { RaidContext } from './context.js';
import { RaidError } from './errors.js';
import { RaidProcess } from './process.js';
import type { Slot } from './slot.js';

/** Starts to fill the slot's member, which is open, and has its sizes. Throws, with nothing changed, if that cannot start. */
export function startRebuild(ctx: RaidContext, array: RaidArray, slot: Slot): void {
  let process;
  try {
    process = new RaidProcess(array, slot, ctx.processOptions);
  } catch (error) {
    const message = `array ${array.name}: there is no memory for a rebuild's buffers`;
    throw new RaidError('ERR_RAID_MEMORY', 12, message, { cause: error });
  }
  slot.isTarget = true;
  slot.isConfigured = true;
  slot.absence = 'missing';
  array.numOperational++;
  array.process = process;
  array.processEnded = runRebuild(ctx, array, slot, process);
}

async function runRebuild(ctx: RaidContext, array: RaidArray, slot: Slot, process: RaidProcess): Promise<void> {
  const about = { array: array.name, process: process.type, target: slot.name };
  ctx.emit({ type: 'processStarted', ...about });
  array.log.info(array.logFields(slot), 'a rebuild starts');
  try {
    await process.run();
    // One step: from here on the target is a member like the others, and every write goes to it.
    slot.isTarget = false;
    array.process = null;
    await array.metadata.update();
    array.log.info(array.logFields(slot), 'the rebuild is complete');
    ctx.emit({ type: 'processFinished', ...about, error: null });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    array.log.error(array.logFields(slot), `the rebuild ended early: ${text}`);
    array.process = null;
    await dropTarget(array, slot);
    ctx.emit({ type: 'processFinished', ...about, error: text });
  }
}

/** The target of a rebuild that failed is worth nothing: its slot is empty again. */
async function dropTarget(array: RaidArray, slot: Slot): Promise<void> {
  if (!slot.isTarget) return;
  if (!slot.isLeaving) {
    slot.isLeaving = true;
    array.numOperational--;
  }
  await slot.whenDrained();
  slot.empty(slot.absence);
}
