import type { ArrayRecord } from '../format/store.js';

/** A device whose superblock says that it is of an array, and that the array's members do not know. */
export interface Stranger {
  /** What people are told. */
  message: string;
  record: ArrayRecord;
  /** The lineages of its own headers. */
  lineages: ReadonlySet<string>;
  /** By what is on it, it is the member that its uuid says, and large enough for that. */
  isUsable: boolean;
}
