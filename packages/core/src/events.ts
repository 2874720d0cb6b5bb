/** Events of arrays, for the program that embeds them. Listeners are called in the turn in which the event happens. */
export type RaidEvent =
  /** The array has come online, or a rebuild has filled its last missing member. `degraded`: not all members are in sync. */
  | { type: 'arrayOnline'; array: string; degraded: boolean }
  /** `isOrderly`: the array is being stopped or deleted. */
  | { type: 'arrayOffline'; array: string; reason: string; isOrderly: boolean }
  /** The array is not listed any more, and its name is free. */
  | { type: 'arrayRemoved'; array: string }
  /** The array has grown to `numBlocks` blocks of its own block size. */
  | { type: 'arrayResized'; array: string; numBlocks: number }
  /** A member was added to a slot, or took another member's place. */
  | { type: 'memberAdded'; array: string; slot: number; member: string }
  /**
   * `isRequested`: the operator removed it; otherwise its device disappeared. `goesWithSlot`: its slot is removed too, so it
   * does not count as missing.
   */
  | {
      type: 'memberRemoved';
      array: string;
      slot: number;
      member: string;
      reason: string;
      isRequested: boolean;
      goesWithSlot?: true;
    }
  /** `wasFilled`: it was being rebuilt and was not in sync yet. */
  | { type: 'memberFailed'; array: string; slot: number; member: string; reason: string; wasFilled: boolean }
  /** An I/O of the member is overdue; the member has not been failed yet. */
  | { type: 'memberUnresponsive'; array: string; slot: number; member: string }
  /** An unresponsive member answers again. */
  | { type: 'memberAnswers'; array: string; slot: number; member: string }
  /** `blocks` blocks of the member's device from `block` on do not match their checksums. */
  | { type: 'checksumError'; array: string; slot: number; member: string; block: number; blocks: number }
  /** A spare has taken a member's place. */
  | { type: 'spareActivated'; array: string; slot: number; member: string }
  /** `targets` are the members being filled together. `target` is the first of them, or null if there are none. */
  | { type: 'processStarted'; array: string; process: string; target: string | null; targets: readonly string[] }
  /**
   * `targets` are the members that were filled or, if `error` is set, were being filled. Members that left earlier had events
   * of their own.
   */
  | {
      type: 'processFinished';
      array: string;
      process: string;
      target: string | null;
      targets: readonly string[];
      error: string | null;
    };

/** Is called with each event, in the turn in which it happens. It must not throw. */
export type RaidEventListener = (event: RaidEvent) => void;
