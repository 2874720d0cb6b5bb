import type { WriteRequest } from '@raidkit/core/level';
import type { StripeMap } from './stripe-map.js';
import { ParityMode } from './stripe-op.js';
import type { StripeOp } from './stripe-op.js';

/** What of a stripe is read before a rectangle is written, and where in the operation's buffer it comes to lie. */

/** Whether the slot holds one of the chunks that the rectangle writes. */
export function holdsWritten(map: StripeMap, op: StripeOp, slot: number): boolean {
  const parity = map.paritySlot(op.stripe);
  if (slot === parity) return false;
  const chunk = slot < parity ? slot : slot - 1;
  return chunk >= op.first && chunk <= op.last;
}

/** Whether the new parity, as it is to be made, needs what the slot holds. */
export function isPreRead(map: StripeMap, op: StripeOp, slot: number): boolean {
  if (op.mode === ParityMode.Full || op.mode === ParityMode.None) return false;
  if (op.mode === ParityMode.Everything) return slot !== op.missing;
  if (op.mode === ParityMode.ReadModifyWrite) return slot === map.paritySlot(op.stripe) || holdsWritten(map, op, slot);
  return slot !== map.paritySlot(op.stripe) && !holdsWritten(map, op, slot);
}

/** The slot of a member that is being filled, and is not on record yet: if it is not written, what it holds is journaled. -1 for none. */
export function extraRead(map: StripeMap, op: StripeOp): number {
  const { journaled, missing } = op;
  const isKnown = journaled < 0 || journaled === missing || holdsWritten(map, op, journaled);
  return isKnown || isPreRead(map, op, journaled) ? -1 : journaled;
}

/**
 * Address of the slot's blocks: slice k of the buffer for the k-th slot that is read, but for the parity, which has the first
 * one, and for a missing one that was worked out, which has the last.
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

/** Address of the data that the request has for a chunk's blocks of the rectangle. */
export function newDataAddr(map: StripeMap, io: WriteRequest, op: StripeOp, chunk: number, blockSize: number): number {
  const block = op.stripe * map.stripeBlocks + chunk * map.strip + op.c0;
  return io.addr + (block - io.offsetBlocks) * blockSize;
}

/** First block of the array that the rectangle has on the slot that is journaled. */
export function journaledOffset(map: StripeMap, op: StripeOp): number {
  const chunk = op.journaled < map.paritySlot(op.stripe) ? op.journaled : op.journaled - 1;
  return op.stripe * map.stripeBlocks + chunk * map.strip + op.c0;
}
