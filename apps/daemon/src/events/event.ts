/** Severity: data or service has been lost (critical), redundancy is reduced (warning), or neither (info). */
export type Severity = 'critical' | 'warning' | 'info';

/** Names of events. Those of `mdadm --monitor` have the same meaning here; the others are raidkit's own. */
export type EventName =
  | 'Fail'
  | 'FailSpare'
  | 'SpareActive'
  | 'DegradedArray'
  | 'RebuildStarted'
  /** Progress of a background process, in percent. */
  | `Rebuild${number}`
  | 'RebuildFinished'
  | 'DeviceDisappeared'
  | 'MoveSpare'
  | 'NewArray'
  | 'TestMessage'
  | 'ArrayOptimal'
  | 'ArrayOffline'
  | 'ArrayFailed'
  | 'ArrayWaiting'
  | 'ArrayResized'
  | 'DeviceAdded'
  | 'DeviceRemoved'
  | 'DeviceSlow'
  | 'DeviceAnswers'
  | 'DeviceErrors'
  | 'MismatchesFound'
  | 'DiskFailing'
  | 'DaemonStuck';

/** An event as it is reported by the code that notices it. */
export interface EventReport {
  readonly event: EventName;
  readonly severity: Severity;
  /** The array; null if the event is not about one. */
  readonly array: string | null;
  /** The member; null if the event is not about one. */
  readonly device: string | null;
  /** What happened, in a sentence. */
  readonly message: string;
}

/** An event as it is kept and sent. */
export interface RaidkitEvent extends EventReport {
  /** Increases by one with each event, from 1, for as long as the daemon runs. */
  readonly id: number;
  /** ISO 8601. */
  readonly time: string;
}
