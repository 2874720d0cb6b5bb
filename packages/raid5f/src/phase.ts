/** State of a write, kept in `phase` of its request, for callbacks that more than one state leads to. */
export const Phase = {
  /** Writing a rectangle and its parity. */
  Write: 1,
  /** Writing zeroes to whole stripes. */
  ZeroStripes: 2,
  /** Journaling the outcome after a part was refused for lack of space. */
  JournalAgain: 3,
} as const;
