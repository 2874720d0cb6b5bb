/**
 * Maps blocks. A stripe is one strip (S blocks) on each of n members; n − 2 of them hold data. P of stripe s is on slot (n − 1)
 * − (s mod n), as is the parity of raid5f, and Q on the next slot, which is slot 0 after the last one. Data chunk j is on the
 * j-th of the other slots: Linux md's left-asymmetric. Q is the sum of 2^j times chunk j.
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

  pSlot(stripe: number): number {
    return this.members - 1 - (stripe % this.members);
  }

  qSlot(stripe: number): number {
    return (this.pSlot(stripe) + 1) % this.members;
  }

  /** Place of a slot in the stripe: the number of its data chunk, {@link dataChunks} for P, {@link dataChunks} + 1 for Q. */
  placeOf(stripe: number, slot: number): number {
    const p = this.pSlot(stripe);
    if (slot === p) return this.dataChunks;
    if (slot === (p + 1) % this.members) return this.dataChunks + 1;
    if (p === this.members - 1) return slot - 1;
    return slot < p ? slot : slot - 2;
  }

  /** The slot that holds a place of the stripe. */
  slotOf(stripe: number, place: number): number {
    const p = this.pSlot(stripe);
    if (place >= this.dataChunks) return (p + place - this.dataChunks) % this.members;
    if (p === this.members - 1) return place + 1;
    return place < p ? place : place + 2;
  }
}
