import type { SinkState } from '../events/sinks/sink-queue.js';
import type { ScheduledArray } from '../schedule/check-schedule.js';
import { packageVersion } from '../version.js';
import { Exposition } from './exposition.js';
import type { Labels } from './exposition.js';
import type { ArrayState, MemberState, ProcessState } from '../array-state.js';
import type { DeviceLatency, DiskHealthState, ReactorState, Snapshot } from './snapshot.js';

const healths = ['optimal', 'degraded', 'rebuilding', 'resyncing', 'configuring', 'offline', 'failed'] as const;
const memberStates = ['current', 'unresponsive', 'rebuilding', 'missing', 'failed'] as const;
const regionStates = ['unwritten', 'dirty', 'out_of_sync', 'needs_resync'] as const;
const severities = ['critical', 'warning', 'info'] as const;

/** Upper bounds of latency buckets in microseconds: powers of two, up to half a minute. */
const latencyEdgesUs = Array.from({ length: 26 }, (_, power) => 2 ** power);

/** State that is not part of the snapshot. */
export interface MonitorState {
  readonly isReady: boolean;
  /** Whether the data path does not answer. */
  readonly isStuck: boolean;
  readonly eventCounts: ReadonlyMap<string, number>;
  readonly sinks: readonly SinkState[];
  /** Arrays of the check schedule; empty if there is no schedule. */
  readonly checks: readonly ScheduledArray[];
}

/** Formats all metrics for Prometheus. `snapshot` is null while there is none. */
export function formatMetrics(snapshot: Snapshot | null, state: MonitorState): string {
  const out = new Exposition();
  daemonMetrics(out, state);
  if (snapshot === null) return out.text;
  arrayMetrics(out, snapshot.arrays);
  memberMetrics(out, snapshot.arrays);
  processMetrics(out, snapshot.arrays);
  checkMetrics(out, snapshot.arrays);
  scheduleMetrics(out, state.checks);
  deviceMetrics(out, snapshot);
  reactorMetrics(out, snapshot.reactors);
  diskMetrics(out, snapshot.disks);
  const { configuration, exports, spares } = snapshot;
  out.gauge(
    'raidkit_nbd_clients',
    'Connections of NBD clients to the export.',
    exports.map((one) => [{ export: one.name, device: one.bdev_name }, one.connections] as const),
  );
  out.gauge('raidkit_spares', 'Spare devices.', [[{}, spares.length]]);
  const { pending, state_error: stateError } = configuration;
  out.gauge('raidkit_configuration_pending_calls', 'Calls of the configuration that are pending, because they have failed.', [
    [{}, pending.length],
  ]);
  out.gauge('raidkit_configuration_saved', 'Whether the state file could be written: 1 if so, or if there is none.', [
    [{}, stateError === null ? 1 : 0],
  ]);
  return out.text;
}

function daemonMetrics(out: Exposition, { eventCounts, isReady, isStuck, sinks }: MonitorState): void {
  out.gauge('raidkit_build_info', 'Always 1; the version is in its label.', [[{ version: packageVersion() }, 1]]);
  out.gauge('raidkit_ready', 'Whether the daemon is ready.', [[{}, isReady ? 1 : 0]]);
  out.gauge('raidkit_stuck', 'Whether the data path does not respond; then it has no other metrics.', [[{}, isStuck ? 1 : 0]]);
  out.counter(
    'raidkit_events_total',
    'Events since the daemon was started.',
    severities.map((severity) => [{ severity }, eventCounts.get(severity) ?? 0] as const),
  );
  const ofSinks = (value: (sink: SinkState) => number): (readonly [Labels, number])[] =>
    sinks.map((sink) => [{ sink: sink.name }, value(sink)] as const);
  out.counter(
    'raidkit_event_sink_told_total',
    'Events delivered to the sink.',
    ofSinks(({ told }) => told),
  );
  out.counter(
    'raidkit_event_sink_dropped_total',
    'Events that could not be delivered to the sink.',
    ofSinks(({ dropped }) => dropped),
  );
  out.gauge(
    'raidkit_event_sink_waiting',
    'Events queued for the sink.',
    ofSinks(({ waiting }) => waiting),
  );
}

function arrayMetrics(out: Exposition, arrays: readonly ArrayState[]): void {
  const each = <T>(value: (array: ArrayState) => T): (readonly [Labels, T])[] =>
    arrays.map((array) => [{ array: array.name }, value(array)] as const);
  out.gauge(
    'raidkit_array_info',
    'Always 1; the labels describe the array.',
    arrays.map(({ name, raid_level: level, uuid }) => [{ array: name, uuid, level }, 1] as const),
  );
  out.gauge(
    'raidkit_array_health',
    'State of the array: 1 for the present state, 0 for the others.',
    arrays.flatMap(({ ext, name }) =>
      healths.map((health) => [{ array: name, health }, ext.health === health ? 1 : 0] as const),
    ),
  );
  out.gauge(
    'raidkit_array_size_bytes',
    'Size of the volume; 0 while the array is not online.',
    each(({ ext, state }) => (state === 'online' ? ext.num_blocks * ext.block_size : 0)),
  );
  out.gauge(
    'raidkit_array_slots',
    'Slots of the array.',
    each(({ ext }) => ext.members.length),
  );
  out.gauge(
    'raidkit_array_members',
    'Slots by the state of their member.',
    arrays.flatMap(({ ext, name }) =>
      memberStates.map(
        (state) => [{ array: name, state }, ext.members.filter((member) => member.state === state).length] as const,
      ),
    ),
  );
  const mapped = arrays.flatMap(({ ext, name }) => (ext.regions === null ? [] : [{ name, regions: ext.regions }]));
  out.gauge(
    'raidkit_array_regions',
    'Regions of the write-intent bitmap by state: never written, being written, out of sync on an absent member, or in need of a resync.',
    mapped.flatMap(({ name, regions }) => regionStates.map((state) => [{ array: name, state }, regions[state]] as const)),
  );
  out.gauge(
    'raidkit_array_region_size_bytes',
    'Size of a region of the write-intent bitmap, on a member.',
    mapped.map(({ name, regions }) => [{ array: name }, regions.region_size] as const),
  );
}

function memberMetrics(out: Exposition, arrays: readonly ArrayState[]): void {
  const each = (value: (member: MemberState) => number): (readonly [Labels, number])[] =>
    arrays.flatMap(({ ext, name }) =>
      ext.members.map((member) => [{ array: name, slot: member.slot }, value(member)] as const),
    );
  out.gauge(
    'raidkit_member_info',
    'Always 1; the label names the device in the slot, and is empty for none.',
    arrays.flatMap(({ ext, name }) =>
      ext.members.map((member) => [{ array: name, slot: member.slot, device: member.name ?? '' }, 1] as const),
    ),
  );
  out.gauge(
    'raidkit_member_in_sync',
    'Whether the slot has a member in sync.',
    each(({ state }) => (state === 'current' || state === 'unresponsive' ? 1 : 0)),
  );
  out.counter(
    'raidkit_member_read_errors_total',
    'Reads of the member that failed; with a state file, also before a restart.',
    each((member) => member.read_errors),
  );
  out.counter(
    'raidkit_member_write_errors_total',
    'Writes of the member that failed; with a state file, also before a restart.',
    each((member) => member.write_errors),
  );
  out.counter(
    'raidkit_member_repaired_blocks_total',
    'Blocks that the member could not read and that were rewritten from redundancy.',
    each((member) => member.repaired_blocks),
  );
  out.counter(
    'raidkit_member_checksum_errors_total',
    'Blocks of 4 KiB of the member with checksum mismatches, each once until it is written; with a state file, also before a restart.',
    each((member) => member.checksum_errors),
  );
  out.gauge(
    'raidkit_member_bad_blocks',
    'Bad blocks of the member: their contents could not be reconstructed.',
    each((member) => member.bad_blocks),
  );
}

function processMetrics(out: Exposition, arrays: readonly ArrayState[]): void {
  const running = arrays.flatMap(({ ext, name }) => (ext.process === null ? [] : [{ name, process: ext.process }]));
  const each = (value: (process: ProcessState) => number): (readonly [Labels, number])[] =>
    running.map(({ name, process }) => [{ array: name, process: process.type }, value(process)] as const);
  out.gauge(
    'raidkit_process_done_bytes',
    'Part of the array that the running background process has done.',
    each((process) => process.bytes_done),
  );
  out.gauge(
    'raidkit_process_size_bytes',
    'Size of all that the background process must cover.',
    each((process) => process.bytes_total),
  );
  out.gauge(
    'raidkit_process_rate_bytes_per_second',
    'Average rate of the background process, without ranges that it skips.',
    each((process) => process.bytes_per_sec),
  );
  out.gauge(
    'raidkit_process_eta_seconds',
    'Maximum number of seconds left at that rate; +Inf while that is unknown, or the process is paused.',
    each(({ eta_sec: eta, paused }) => (eta === null || paused ? Infinity : eta)),
  );
  out.gauge(
    'raidkit_process_paused',
    'Whether the background process is paused.',
    each(({ paused }) => (paused ? 1 : 0)),
  );
  out.gauge(
    'raidkit_process_mismatch_blocks',
    'Blocks at which redundancy did not match the data.',
    each((process) => process.mismatch_blocks),
  );
}

function checkMetrics(out: Exposition, arrays: readonly ArrayState[]): void {
  const checked = arrays.flatMap(({ ext, name }) => {
    const record = ext.history.find(({ type }) => type === 'check' || type === 'repair');
    return record === undefined ? [] : [{ name, record }];
  });
  const each = (value: (record: (typeof checked)[number]['record']) => number): (readonly [Labels, number])[] =>
    checked.map(({ name, record }) => [{ array: name, type: record.type }, value(record)] as const);
  out.gauge(
    'raidkit_check_last_end_timestamp_seconds',
    'When the last check or repair ended, in seconds since 1970.',
    each((record) => Math.round(record.started_at / 1000 + record.seconds)),
  );
  out.gauge(
    'raidkit_check_last_duration_seconds',
    'Duration of the last check or repair.',
    each((record) => record.seconds),
  );
  out.gauge(
    'raidkit_check_last_complete',
    'Whether the last check or repair was complete.',
    each((record) => (record.error === null ? 1 : 0)),
  );
  out.gauge(
    'raidkit_check_last_mismatch_blocks',
    'Blocks at which redundancy did not match the data.',
    each((record) => record.mismatch_blocks),
  );
}

function scheduleMetrics(out: Exposition, checks: readonly ScheduledArray[]): void {
  const each = (value: (array: ScheduledArray) => number | null): (readonly [Labels, number])[] =>
    checks.flatMap((array) => {
      const number = value(array);
      return number === null ? [] : [[{ array: array.name }, number] as const];
    });
  out.gauge(
    'raidkit_schedule_due_timestamp_seconds',
    'When the next scheduled check of the array is due, in seconds since 1970.',
    each(({ dueAt }) => Math.round(dueAt / 1000)),
  );
  out.gauge(
    'raidkit_schedule_completed_timestamp_seconds',
    'When the last whole check was complete, also before a restart.',
    each(({ completedAt }) => (completedAt === null ? null : Math.round(completedAt / 1000))),
  );
  out.gauge(
    'raidkit_schedule_mismatch_blocks',
    'Blocks at which redundancy did not match the data.',
    each(({ completedAt, mismatchBlocks }) => (completedAt === null ? null : mismatchBlocks)),
  );
  out.gauge(
    'raidkit_schedule_unfinished_ratio',
    'Part of the array that a check which is running or interrupted has done.',
    each(({ done }) => done),
  );
}

function deviceMetrics(out: Exposition, { arrays, iostat, latency }: Snapshot): void {
  const { bdevs, tick_rate: tickRate } = iostat;
  type Stats = (typeof bdevs)[number];
  const each = (value: (stats: Stats) => number): (readonly [Labels, number])[] =>
    bdevs.map((stats) => [{ device: stats.name, role: roleOf(arrays, stats.name) }, value(stats)] as const);
  out.counter(
    'raidkit_device_reads_total',
    'Successful reads.',
    each((stats) => stats.num_read_ops),
  );
  out.counter(
    'raidkit_device_read_bytes_total',
    'Bytes read.',
    each((stats) => stats.bytes_read),
  );
  out.counter(
    'raidkit_device_writes_total',
    'Successful writes.',
    each((stats) => stats.num_write_ops),
  );
  out.counter(
    'raidkit_device_written_bytes_total',
    'Bytes written.',
    each((stats) => stats.bytes_written),
  );
  out.counter(
    'raidkit_device_io_time_seconds_total',
    'Time during which there was I/O in flight.',
    each((stats) => stats.io_time / tickRate),
  );
  out.gauge(
    'raidkit_device_queue_depth',
    'I/O in flight.',
    each((stats) => stats.queue_depth),
  );
  const operations = latency.flatMap(({ name, operations: list }) =>
    list.map((operation) => ({ labels: { device: name, role: roleOf(arrays, name), operation: operation.type }, operation })),
  );
  out.counter(
    'raidkit_device_errors_total',
    'Failed I/O.',
    operations.map(({ labels, operation }) => [labels, operation.errors] as const),
  );
  out.histogram(
    'raidkit_device_latency_seconds',
    'Latency of successful I/O.',
    latencyEdgesUs.map((us) => us / 1_000_000),
    operations.map(({ labels, operation }) => [labels, inSeconds(operation)] as const),
  );
}

function reactorMetrics(out: Exposition, reactors: readonly ReactorState[]): void {
  const each = (value: (reactor: ReactorState) => number): (readonly [Labels, number])[] =>
    reactors.map((one) => [{ reactor: one.reactor }, value(one)] as const);
  out.counter(
    'raidkit_reactor_awake_seconds_total',
    'Time that the thread of the data path was awake: working or polling.',
    each((one) => one.awake_sec),
  );
  out.counter(
    'raidkit_reactor_asleep_seconds_total',
    'Time that the thread of the data path slept.',
    each((one) => one.asleep_sec),
  );
  out.counter(
    'raidkit_reactor_requests_total',
    'Requests of NBD clients that the reactor has answered.',
    reactors.flatMap((one) => [
      [{ reactor: one.reactor, type: 'read' }, one.read_requests] as const,
      [{ reactor: one.reactor, type: 'write' }, one.write_requests] as const,
      [{ reactor: one.reactor, type: 'other' }, one.other_requests] as const,
    ]),
  );
  out.counter(
    'raidkit_reactor_read_bytes_total',
    'Bytes that NBD clients have read through the reactor.',
    each((one) => one.bytes_read),
  );
  out.counter(
    'raidkit_reactor_written_bytes_total',
    'Bytes that NBD clients have written through the reactor.',
    each((one) => one.bytes_written),
  );
  out.gauge(
    'raidkit_reactor_connections',
    'Connections of NBD clients to the reactor, including those in the handshake.',
    each((one) => one.connections),
  );
  out.gauge(
    'raidkit_reactor_queue_depth',
    'I/O in flight in the reactor, on volumes and on members.',
    each((one) => one.queue_depth),
  );
}

function diskMetrics(out: Exposition, { disks, reason }: DiskHealthState): void {
  type Disk = DiskHealthState['disks'][number];
  const each = (value: (disk: Disk) => number | null): (readonly [Labels, number])[] =>
    disks.flatMap((disk) => {
      const number = value(disk);
      return number === null ? [] : [[{ device: disk.bdev_name }, number] as const];
    });
  out.gauge('raidkit_disk_health_known', 'Whether smartctl is available, and there are disks to query.', [
    [{}, reason === null ? 1 : 0],
  ]);
  out.gauge(
    'raidkit_disk_failing',
    'Whether the disk reports (SMART, NVMe) that it is failing; absent if it does not report it.',
    each(({ verdict }) => (verdict === 'unknown' ? null : verdict === 'bad' ? 1 : 0)),
  );
  out.gauge(
    'raidkit_disk_temperature_celsius',
    'Temperature of the disk.',
    each((disk) => disk.temperature_celsius),
  );
  out.gauge(
    'raidkit_disk_power_on_seconds',
    'Time that the disk has been powered on.',
    each((disk) => (disk.power_on_hours === null ? null : disk.power_on_hours * 3600)),
  );
  out.gauge(
    'raidkit_disk_used_ratio',
    'Part of its life that the disk has used by its maker’s estimate (NVMe); may be above 1.',
    each((disk) => (disk.percentage_used === null ? null : disk.percentage_used / 100)),
  );
  out.gauge(
    'raidkit_disk_media_errors',
    'Errors that the disk could not correct (NVMe), or sectors that it has reallocated or will reallocate (ATA).',
    each((disk) => disk.media_errors),
  );
}

type Operation = DeviceLatency['operations'][number];

function inSeconds({ buckets, total_us: total }: Operation): { buckets: [number, number][]; sum: number } {
  return { buckets: buckets.map(([upper, count]) => [upper / 1_000_000, count]), sum: total / 1_000_000 };
}

/** Role of a device, so that users' I/O and members' I/O are not added up. */
function roleOf(arrays: readonly ArrayState[], device: string): string {
  if (arrays.some(({ ext }) => ext.members.some(({ name }) => name === device))) return 'member';
  return arrays.some(({ name }) => name === device) ? 'volume' : 'other';
}
