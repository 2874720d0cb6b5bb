/** Events of arrays, for the program that embeds them. Listeners are called in the turn in which the event happens. */
export type RaidEvent =
  | { type: 'arrayOnline'; array: string; degraded: boolean }
  /** `isOrderly`: the array is being stopped or deleted. */
  | { type: 'arrayOffline'; array: string; reason: string; isOrderly: boolean }
  | { type: 'arrayRemoved'; array: string }
  | { type: 'arrayResized'; array: string; numBlocks: number }
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
  | { type: 'memberSuspect'; array: string; slot: number; member: string }
  | { type: 'memberAnswers'; array: string; slot: number; member: string }
  /** Blocks of the member's device do not match their checksums. */
  | { type: 'checksumError'; array: string; slot: number; member: string; block: number; blocks: number }
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
      /** Is called with each event, in the turn in which it happens. */
      process: string;
      target: string | null;
      targets: readonly string[];
      error: string | null;
    };

export type RaidEventListener = (event: RaidEvent) => void;
