import { IoType, ioTypeNames } from '@raidkit/bdev';
import type { Bdev, JsonObject, JsonValue } from '@raidkit/bdev';
import type { Service } from './service.js';

/** I/O types that SPDK lists and raidkit does not support. */
const foreignTypes = [
  'zcopy',
  'get_zone_info',
  'zone_management',
  'zone_append',
  'compare',
  'compare_and_write',
  'abort',
  'seek_hole',
  'seek_data',
  'copy',
  'nvme_iov_md',
  'nvme_nssr',
  'write_uncorrectable',
];

/**
 * Describes a device as `bdev_get_bdevs` shows it, with SPDK's keys in SPDK's order and, with several reactors, the reactor it
 * is on.
 */
export function describeBdev(bdev: Bdev, { index, count }: Service['reactor']): JsonObject {
  return {
    name: bdev.name,
    aliases: [...new Set([bdev.uuid, ...bdev.aliases])],
    product_name: bdev.driver.productName,
    block_size: bdev.blockSize,
    num_blocks: bdev.numBlocks,
    preferred_write_alignment: 0,
    preferred_write_granularity: 0,
    optimal_write_size: 0,
    preferred_unmap_alignment: 0,
    preferred_unmap_granularity: 0,
    uuid: bdev.uuid,
    assigned_rate_limits: describeRateLimits(bdev),
    claimed: bdev.claimedBy !== null,
    ...(bdev.claimedBy === null ? {} : { claim_type: 'exclusive_write' }),
    zoned: false,
    supported_io_types: supportedTypes(bdev),
    driver_specific: { ...bdev.driver.driverSpecific?.(), ...(count === 1 ? {} : { raidkit: { reactor: index } }) },
  };
}

/** Rate limits with the parameter names of `bdev_set_qos_limit`. */
export function describeRateLimits({ rateLimits }: Bdev): JsonObject {
  return {
    rw_ios_per_sec: rateLimits.iosPerSecond,
    rw_mbytes_per_sec: rateLimits.bytesPerSecond / mebibyte,
    r_mbytes_per_sec: rateLimits.readBytesPerSecond / mebibyte,
    w_mbytes_per_sec: rateLimits.writeBytesPerSecond / mebibyte,
  };
}

export const mebibyte = 1024 * 1024;

function supportedTypes(bdev: Bdev): JsonObject {
  const types: Record<string, JsonValue> = {
    read: bdev.supports(IoType.Read),
    write: bdev.supports(IoType.Write),
    unmap: bdev.supports(IoType.Unmap),
    flush: bdev.supports(IoType.Flush),
    reset: true,
    nvme_admin: false,
    nvme_io: false,
    nvme_io_md: false,
    write_zeroes: bdev.supports(IoType.WriteZeroes),
  };
  for (const type of foreignTypes) types[type] = false;
  return types;
}

/** Ticks per second in I/O statistics: a tick is a microsecond. */
export const tickRate = 1_000_000;

/** A device's statistics as `bdev_get_iostat` shows them. */
export function describeStats(bdev: Bdev): JsonObject {
  const { stats } = bdev;
  const ticks = (type: IoType): number => Math.round((stats.latencyMs[type] ?? 0) * 1000);
  const count = (table: Float64Array, type: IoType): number => table[type] ?? 0;
  return {
    name: bdev.name,
    bytes_read: count(stats.bytes, IoType.Read),
    num_read_ops: count(stats.ops, IoType.Read),
    bytes_written: count(stats.bytes, IoType.Write),
    num_write_ops: count(stats.ops, IoType.Write),
    bytes_unmapped: count(stats.bytes, IoType.Unmap),
    num_unmap_ops: count(stats.ops, IoType.Unmap),
    bytes_copied: 0,
    num_copy_ops: 0,
    read_latency_ticks: ticks(IoType.Read),
    max_read_latency_ticks: 0,
    min_read_latency_ticks: 0,
    write_latency_ticks: ticks(IoType.Write),
    max_write_latency_ticks: 0,
    min_write_latency_ticks: 0,
    unmap_latency_ticks: ticks(IoType.Unmap),
    max_unmap_latency_ticks: 0,
    min_unmap_latency_ticks: 0,
    copy_latency_ticks: 0,
    max_copy_latency_ticks: 0,
    min_copy_latency_ticks: 0,
    io_error: errorCounts(bdev),
    queue_depth: stats.inFlight,
    io_time: Math.round(stats.busyMs * 1000),
    weighted_io_time: Math.round(stats.weightedMs * 1000),
  };
}

function errorCounts(bdev: Bdev): JsonObject {
  const errors: JsonObject = {};
  ioTypeNames.forEach((type, index) => {
    const count = bdev.stats.errors[index] ?? 0;
    if (count > 0) errors[type] = count;
  });
  return errors;
}
