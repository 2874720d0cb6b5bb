/**
 * Where things are. A stripe is one strip (S blocks) on each of n members; n − 2 of them hold data. P of stripe s is on slot
 * (n − 1) − (s mod n), as raid5f has its parity, and Q on the slot behind it, or on slot 0 behind the last one; data chunk j is on
 * the j-th of the other slots: Linux md's left-asymmetric. Q is the sum of 2^j times chunk j.
 */
export class StripeMap {
  readonly strip: number;
  readonly members: number;
  readonly dataChunks: number;
  /** Array blocks of a stripe. */
  readonly stripeBlocks: number;

  constructor(stripBlocks: number, members: number) {
    this.strip = stripBlocks;
    this.members = members;
    this.dataChunks = members - 2;
    this.stripeBlocks = stripBlocks * this.dataChunks;
  }

  stripeOf(block: number): number {
    return Math.floor(block / this.stripeBlocks);
  }

  /** The slot of P. */
  pSlot(stripe: number): number {
    return this.members - 1 - (stripe % this.members);
  }

  /** The slot of Q. */
  qSlot(stripe: number): number {
    return (this.pSlot(stripe) + 1) % this.members;
  }

  /** What the slot holds of the stripe: the number of a data chunk, {@link dataChunks} for P, one more for Q. */
  placeOf(stripe: number, slot: number): number {
    const p = this.pSlot(stripe);
    if (slot === p) return this.dataChunks;
    if (slot === (p + 1) % this.members) return this.dataChunks + 1;
    if (p === this.members - 1) return slot - 1;
    return slot < p ? slot : slot - 2;
  }

  /** The slot that holds this place of the stripe. */
  slotOf(stripe: number, place: number): number {
    const p = this.pSlot(stripe);
    if (place >= this.dataChunks) return (p + place - this.dataChunks) % this.members;
    if (p === this.members - 1) return place + 1;
    return place < p ? place : place + 2;
  }
}
