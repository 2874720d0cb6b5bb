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
  /** After a part was refused for lack of space: data is put back as it was. */
  Restore: 6,
  /** … and read again as it is. */
  ReadAgain: 7,
  /** … and gets a parity of its own. */
  WriteParity: 8,
  /** … or the journal is told what has come of it. */
  JournalAgain: 9,
} as const;
