/** What a write is doing where more than one way leads on; in `phase` of its request. */
export const Phase = {
  /** A rectangle, with its parity. */
  Write: 1,
  /** Zeroes to whole stripes. */
  ZeroStripes: 2,
  /** After a part was refused for lack of space, the journal is told what has come of it. */
  JournalAgain: 3,
} as const;
