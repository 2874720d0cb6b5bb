import { RpcCode, RpcError } from '../rpc/errors.js';
import type { ArrayState } from '../array-state.js';
import type { Caller } from '../rpc/dispatcher.js';

/* The parts of the daemon's answers that metrics are made from. */

export interface DeviceStats {
  name: string;
  bytes_read: number;
  num_read_ops: number;
  bytes_written: number;
  num_write_ops: number;
  queue_depth: number;
  io_time: number;
}

export interface DeviceLatency {
  name: string;
  operations: { type: string; count: number; total_us: number; errors: number; buckets: [number, number][] }[];
}

export interface ReactorState {
  reactor: number;
  awake_sec: number;
  asleep_sec: number;
  connections: number;
  read_requests: number;
  write_requests: number;
  other_requests: number;
  bytes_read: number;
  bytes_written: number;
  queue_depth: number;
}

export interface DiskHealthState {
  /** Why the health of no disk is known; null if that of some disk is. */
  reason: string | null;
  disks: {
    bdev_name: string;
    verdict: string;
    temperature_celsius: number | null;
    power_on_hours: number | null;
    percentage_used: number | null;
    media_errors: number | null;
  }[];
}

export interface Snapshot {
  arrays: ArrayState[];
  iostat: { tick_rate: number; bdevs: DeviceStats[] };
  latency: DeviceLatency[];
  reactors: ReactorState[];
  disks: DiskHealthState;
  exports: { name: string; bdev_name: string; connections: number }[];
  spares: unknown[];
  configuration: { state_error: string | null; pending: unknown[] };
}

/** Health of the data path. */
export type Health = { isHealthy: true } | { isHealthy: false; reason: string };

/** Time limit for the data path's answers, in milliseconds. */
const timeLimitMs = 5000;

/** Queries everything that metrics show; null while the daemon is starting. Rejects if the data path does not answer. */
export async function takeSnapshot(caller: Caller): Promise<Snapshot | null> {
  const ask = (method: string): Promise<unknown> => inTime(caller.call(method, undefined));
  try {
    const [arrays, iostat, latency, reactors, disks, exports, spares, configuration] = await Promise.all([
      ask('raidkit_get_arrays'),
      ask('bdev_get_iostat'),
      ask('raidkit_get_latency'),
      ask('raidkit_get_reactors'),
      ask('raidkit_get_disk_health'),
      ask('raidkit_nbd_get_exports'),
      ask('raidkit_get_spares'),
      ask('raidkit_get_configuration'),
    ]);
    return { arrays, iostat, latency, reactors, disks, exports, spares, configuration } as Snapshot;
  } catch (error) {
    if (isStarting(error)) return null;
    throw error;
  }
}

/** Whether the data path answers. The query goes to every reactor and does not depend on any device. */
export async function askHealth(caller: Caller): Promise<Health> {
  try {
    await inTime(caller.call('thread_get_stats', undefined));
    return { isHealthy: true };
  } catch (error) {
    if (isStarting(error)) return { isHealthy: true };
    return { isHealthy: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** Whether the daemon refused the call because it is still starting. */
export function isStarting(error: unknown): boolean {
  return error instanceof RpcError && error.code === RpcCode.InvalidState;
}

/** Settles like `work`, but rejects if the data path takes too long. */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the data path has not responded within ${timeLimitMs / 1000} s`)), timeLimitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
