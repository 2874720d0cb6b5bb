import type { Stranger } from './stranger.js';

/** A device with a superblock of the array that has no slot in it. */
export interface Outside {
  /** Sequence number of its superblock. */
  readonly seqNumber: number;
  /** Lineages in its headers. */
  readonly lineages: ReadonlySet<string>;
}

/**
 * Facts about the devices that an array is assembled from, until it is started: which were examined, and which are left out and
 * why.
 */
export class AssemblyFacts {
  /** Generation of the header that the array's options come from; 0 if there is none. */
  optionsGeneration = 0;
  /** Uuids of recorded members, current or not, whose superblocks have been examined. */
  readonly seen = new Set<string>();
  /** Lineages of the devices that the array is assembled from: see `ExtensionHeader`. */
  readonly lineages = new Set<string>();
  /** Uuids of members whose state is older than one that all members once had. */
  readonly nonFresh = new Set<string>();
  /** Uuids of members that appeared while the array was being started without them or could not accept them. */
  readonly deferredMembers = new Set<string>();
  /** Uuids of deferred members that are being examined again. */
  readonly reexamined = new Set<string>();
  /**
   * Split-brain candidates: devices that the newest superblock records as out, but whose own superblock records a current
   * member as out. Slot of that device, and sequence number of its superblock.
   */
  readonly splitBrain: { slot: number; seqNumber: number }[] = [];
  /**
   * If the start was refused because another program ran the array from members that lack its superblock: uuids of the present
   * members that have it, else null. Without them the array is assembled from the others.
   */
  ahead: ReadonlySet<string> | null = null;
  /** What devices, by uuid, have of the array that are not in any of its slots. */
  readonly outside = new Map<string, Outside>();
  /** Devices, by uuid, whose superblocks say that they are members, while the array's members do not know them. */
  readonly strangers = new Map<string, Stranger>();
  /**
   * The array was made anew from a device with which most of the present devices agree, replacing one made from another device.
   */
  isOfMost = false;
  /** An operator has confirmed the device that the array was made from. */
  isVouchedFor = false;
  /** Ends the wait for further members before the start; null while there is no such wait. */
  endStartWait: (() => void) | null = null;

  /** Sets {@link ahead}. */
  noteAhead(uuids: Iterable<string> | null): void {
    this.ahead = uuids === null ? null : new Set(uuids);
  }

  noteOutside(uuid: string, outside: Outside): void {
    this.outside.set(uuid, outside);
  }

  /** The device is a member that cannot be accepted now. It is examined again later. */
  defer({ uuid }: { readonly uuid: string }): void {
    this.deferredMembers.add(uuid);
  }

  /** The device says that it is a member, and the array's members do not know it. */
  noteStranger(uuid: string, stranger: Stranger): void {
    this.strangers.set(uuid, stranger);
  }

  forgetStranger(uuid: string): void {
    this.strangers.delete(uuid);
  }

  /**
   * Whether the member of this uuid is present and will be examined when the array can accept it. No other device may take its
   * slot before.
   */
  isPromised(uuid: string): boolean {
    return this.deferredMembers.has(uuid) || this.reexamined.has(uuid);
  }
}
