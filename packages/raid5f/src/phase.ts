/** What a request is doing; in `RaidIo.phase`. */
export const Phase = {
  /** Reading the wanted blocks where they are. */
  Direct: 1,
  /** Reading the other members, to work out the wanted blocks. */
  Reconstruct: 2,
  /** Reading what new parity is made from. */
  PreRead: 3,
  Write: 4,
  /** Writing zeroes to whole stripes. */
  ZeroStripes: 5,
} as const;
