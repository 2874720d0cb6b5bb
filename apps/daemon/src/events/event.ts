/** How urgent an event is: data or service has been lost, redundancy is less than it should be, or it is only said. */
export type Severity = 'critical' | 'warning' | 'info';

/** Names of events. Those of `mdadm --monitor` mean what they mean there; the others are ours. */
export type EventName =
  | 'Fail'
  | 'FailSpare'
  | 'SpareActive'
  | 'DegradedArray'
  | 'RebuildStarted'
  /** How far background work has got, in percent. */
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

/** Something that happened, as the code that notices it reports it. */
export interface EventReport {
  readonly event: EventName;
  readonly severity: Severity;
  /** Null if it is about no array. */
  readonly array: string | null;
  /** The member that it is about; null for none. */
  readonly device: string | null;
  /** What happened, in a sentence. */
  readonly message: string;
}

/** An event as it is kept and told. */
export interface RaidkitEvent extends EventReport {
  /** Grows by one from event to event, from 1, as long as the daemon runs. */
  readonly id: number;
  /** ISO 8601. */
  readonly time: string;
}
