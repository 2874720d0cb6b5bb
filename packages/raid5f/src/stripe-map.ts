/**
 * Maps blocks. A stripe is one strip (S blocks) on each of n members; n − 1 of them hold data. The parity of stripe s is on
 * slot (n − 1) − (s mod n), and data chunk j on slot j, or j + 1 from the parity's slot on: Linux md's left-asymmetric.
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
    this.dataChunks = members - 1;
    this.stripeBlocks = stripBlocks * this.dataChunks;
  }

  stripeOf(block: number): number {
    return Math.floor(block / this.stripeBlocks);
  }

  paritySlot(stripe: number): number {
    return this.dataChunks - (stripe % this.members);
  }

  dataSlot(stripe: number, chunk: number): number {
    return chunk < this.paritySlot(stripe) ? chunk : chunk + 1;
  }
}
