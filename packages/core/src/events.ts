/** What happens to arrays, for whoever composes them. Told in the turn in which it happened. */
export type RaidEvent =
  | { type: 'arrayOnline'; array: string; degraded: boolean }
  | { type: 'arrayOffline'; array: string; reason: string }
  | { type: 'arrayRemoved'; array: string }
  | { type: 'arrayResized'; array: string; numBlocks: number }
  | { type: 'memberAdded'; array: string; slot: number; member: string }
  | { type: 'memberRemoved'; array: string; slot: number; member: string }
  | { type: 'memberFailed'; array: string; slot: number; member: string; reason: string }
  | { type: 'memberSuspect'; array: string; slot: number; member: string }
  | { type: 'memberAnswers'; array: string; slot: number; member: string }
  | { type: 'spareActivated'; array: string; slot: number; member: string }
  | { type: 'processStarted'; array: string; process: string; target: string | null }
  | { type: 'processFinished'; array: string; process: string; target: string | null; error: string | null };

export type RaidEventListener = (event: RaidEvent) => void;
