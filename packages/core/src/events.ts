/** What happens to arrays, for the program that composes them. Told in the turn in which it happened. */
export type RaidEvent =
  | { type: 'arrayOnline'; array: string; degraded: boolean }
  /** `isOrderly`: it is being stopped or deleted. */
  | { type: 'arrayOffline'; array: string; reason: string; isOrderly: boolean }
  | { type: 'arrayRemoved'; array: string }
  | { type: 'arrayResized'; array: string; numBlocks: number }
  | { type: 'memberAdded'; array: string; slot: number; member: string }
  /** `isRequested`: the operator asked for it; else the device went away. `goesWithSlot`: its slot is taken away too, and is not missing then. */
  | {
      type: 'memberRemoved';
      array: string;
      slot: number;
      member: string;
      reason: string;
      isRequested: boolean;
      goesWithSlot?: true;
    }
  /** `wasFilled`: it was being filled, and was not in sync yet. */
  | { type: 'memberFailed'; array: string; slot: number; member: string; reason: string; wasFilled: boolean }
  | { type: 'memberSuspect'; array: string; slot: number; member: string }
  | { type: 'memberAnswers'; array: string; slot: number; member: string }
  /** Blocks of the member's device are not what their checksums say. */
  | { type: 'checksumError'; array: string; slot: number; member: string; block: number; blocks: number }
  | { type: 'spareActivated'; array: string; slot: number; member: string }
  /** `targets`: the members that are filled, together; `target` is the first of them, and null where there are none. */
  | { type: 'processStarted'; array: string; process: string; target: string | null; targets: readonly string[] }
  /** `targets`: those that it filled, or, with an error, was filling. One that left meanwhile was told of then. */
  | {
      type: 'processFinished';
      array: string;
      process: string;
      target: string | null;
      targets: readonly string[];
      error: string | null;
    };

export type RaidEventListener = (event: RaidEvent) => void;
