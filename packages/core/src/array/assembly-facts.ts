import type { Stranger } from './stranger.js';

/** What is known of the devices that an array is put together from, until it is started: which were seen, and which are left out, and why. */
export class AssemblyFacts {
  /** Generation of the header that the array's options are from; 0 for none. */
  optionsGeneration = 0;
  /** Uuids of recorded members, in or out, whose superblocks have been looked at. */
  readonly seen = new Set<string>();
  /** The lineages of the devices that the array is assembled from: see `ExtensionHeader`. */
  readonly lineages = new Set<string>();
  /** Uuids of members that hold an older state than all of them had once. */
  readonly nonFresh = new Set<string>();
  /** Uuids of members that appeared while the array was being started without them, or while it could not take them. */
  readonly deferredMembers = new Set<string>();
  /** Uuids of those of them that are being looked at again. */
  readonly latecomers = new Set<string>();
  /**
   * Devices that are out, by the newest superblock, and say that they went on without one that is in: slot, and sequence
   * number of what they say.
   */
  readonly splitBrain: { slot: number; seqNumber: number }[] = [];
  /** Devices, by uuid, whose superblocks say that they are members, and that those that are there do not know. */
  readonly strangers = new Map<string, Stranger>();
  /** The array was made from a device with which most of those that are there agree, instead of another one. */
  isOfMost = false;
  /** A person has said that the array is to be put together from the device that it was made from. */
  isVouchedFor = false;
  /** Ends the wait for members after which the array is started; null while there is no such wait. */
  endStartWait: (() => void) | null = null;

  /** The member of this uuid is there, and is looked at once the array can take it: no other device may take its place before. */
  isPromised(uuid: string): boolean {
    return this.deferredMembers.has(uuid) || this.latecomers.has(uuid);
  }
}
