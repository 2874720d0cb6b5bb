import type { WriteRequest } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { ParityMode } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** Decides what is read before a rectangle is written, and where in the operation's buffer it is placed. */

/** Whether the slot holds one of the chunks that the rectangle writes. */
export function holdsWritten(map: StripeMap, op: StripeOp, slot: number): boolean {
  const parity = map.paritySlot(op.stripe);
  if (slot === parity) return false;
  const chunk = slot < parity ? slot : slot - 1;
  return chunk >= op.first && chunk <= op.last;
}

/** Whether the new parity, computed as `op.mode` says, needs the slot's blocks. */
export function isPreRead(map: StripeMap, op: StripeOp, slot: number): boolean {
  if (op.mode === ParityMode.Full || op.mode === ParityMode.None) return false;
  if (op.mode === ParityMode.Everything) return slot !== op.missing;
  if (op.mode === ParityMode.ReadModifyWrite) return slot === map.paritySlot(op.stripe) || holdsWritten(map, op, slot);
  return slot !== map.paritySlot(op.stripe) && !holdsWritten(map, op, slot);
}

/**
 * Returns the slot of a returned member that is still recorded as absent, if its blocks must be read for the journal and are
 * not read for the parity anyway; -1 if there is none.
 */
export function extraRead(map: StripeMap, op: StripeOp): number {
  const { journaled, missing } = op;
  const isKnown = journaled < 0 || journaled === missing || holdsWritten(map, op, journaled);
  return isKnown || isPreRead(map, op, journaled) ? -1 : journaled;
}

/**
 * Address of a data slot's blocks in the buffer, where the parity has slice 0: the k-th data slot that is read (from 1) has
 * slice k, and a missing member that is computed has the last slice.
 */
export function readAddr(map: StripeMap, op: StripeOp, sliceBytes: number, wanted: number): number {
  const { members } = map;
  if (wanted === op.missing) return op.addr + (members - 1) * sliceBytes;
  const parity = map.paritySlot(op.stripe);
  let slice = 1;
  for (let slot = 0; slot < wanted; slot++) {
    if (slot !== parity && (isPreRead(map, op, slot) || slot === op.extra)) slice++;
  }
  return op.addr + slice * sliceBytes;
}

/** Address of the request's data for a chunk of the rectangle. */
export function newDataAddr(map: StripeMap, io: WriteRequest, op: StripeOp, chunk: number, blockSize: number): number {
  const block = op.stripe * map.stripeBlocks + chunk * map.strip + op.c0;
  return io.addr + (block - io.offsetBlocks) * blockSize;
}

/** First array block of the rectangle on the journaled slot. */
export function journaledOffset(map: StripeMap, op: StripeOp): number {
  const chunk = op.journaled < map.paritySlot(op.stripe) ? op.journaled : op.journaled - 1;
  return op.stripe * map.stripeBlocks + chunk * map.strip + op.c0;
}
