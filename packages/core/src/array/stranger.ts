import type { ArrayRecord } from '../format/store.js';

/** A device whose superblock says that it is a member of an array, while the array's members do not know it. */
export interface Stranger {
  /** Message for people. */
  message: string;
  record: ArrayRecord;
  /** Lineages in the headers on the device. */
  lineages: ReadonlySet<string>;
  /** The device has the metadata of the member with its uuid and is large enough for it. */
  isUsable: boolean;
}
