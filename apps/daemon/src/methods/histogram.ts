import { LatencyHistogram, histogramBuckets, ioTypeNames } from '@raidkit/bdev';
import type { Bdev, JsonObject } from '@raidkit/bdev';
import { z } from 'zod';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcCode, RpcError, errnoRefusal } from '../rpc/errors.js';
import type { Service } from '../service.js';
import { name, u32, u64 } from './schemas.js';

/** Default of SPDK: log2 of the number of buckets per doubling. */
const defaultGranularity = 7;
/** Ticks are nanoseconds. */
const ticksPerSecond = 1_000_000_000;

/** An enabled histogram: counts since it was enabled, for these I/O types. */
interface Enabled {
  readonly types: readonly number[];
  readonly granularity: number;
  /** Counts at the time it was enabled, by type. */
  readonly baseline: readonly Float64Array[];
}

/**
 * SPDK's methods for latency histograms. Every device keeps them all the time; enabling one sets the time from which counts are
 * shown.
 */
export function histogramMethods({ registry }: Service): RpcMethod[] {
  const enabled = new WeakMap<Bdev, Enabled>();
  const find = (wanted: string): Bdev => {
    const bdev = registry.get(wanted);
    if (bdev === undefined) throw errnoRefusal(19, `there is no bdev ${wanted}`);
    return bdev;
  };
  return [
    method({
      name: 'bdev_enable_histogram',
      params: z.strictObject({
        name,
        enable: z.boolean(),
        opc: z.string().optional(),
        granularity: u32.min(1).max(16).optional(),
        // The recorded range is fixed (1 µs to over an hour); narrower ones are accepted without effect.
        min_nsec: u64.optional(),
        max_nsec: u64.optional(),
      }),
      badParams: internalFailed,
      run(params) {
        const bdev = find(params.name);
        const types = typesOf(params.opc);
        if (!params.enable) {
          enabled.delete(bdev);
          return Promise.resolve(true);
        }
        const baseline = bdev.stats.histograms.map(({ counts }) => counts.slice());
        enabled.set(bdev, { types, granularity: params.granularity ?? defaultGranularity, baseline });
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'bdev_get_histogram',
      params: z.strictObject({ name }),
      badParams: internalFailed,
      run(params) {
        const bdev = find(params.name);
        const shown = enabled.get(bdev);
        if (shown === undefined) {
          throw errnoRefusal(14, `the histogram of ${params.name} is not enabled: bdev_enable_histogram does that`);
        }
        return Promise.resolve(describe(bdev, shown));
      },
    }),
  ];
}

function typesOf(opc: string | undefined): number[] {
  if (opc === undefined || opc === 'all') return ioTypeNames.map((_, index) => index);
  const index = ioTypeNames.findIndex((type) => type === opc);
  if (index < 0)
    throw new RpcError(RpcCode.Internal, 'Invalid Io type', {
      reason: `opc must be all or one of ${ioTypeNames.join(', ')}`,
      field: 'opc',
    });
  return [index];
}

/** Encodes a histogram as SPDK does: 64-bit counts of linear buckets in doubling ranges, in base64. */
function describe(bdev: Bdev, { types, granularity, baseline }: Enabled): JsonObject {
  const perRange = 2 ** granularity;
  const ranges = 64 - granularity + 1;
  const counts = new BigUint64Array(ranges * perRange);
  for (let bucket = 0; bucket < histogramBuckets; bucket++) {
    let count = 0;
    for (const type of types) {
      // Statistics may have been reset since it was enabled.
      const now = bdev.stats.histograms[type]?.counts[bucket] ?? 0;
      count += Math.max(now - (baseline[type]?.[bucket] ?? 0), 0);
    }
    if (count === 0) continue;
    const index = spdkBucket(middleNs(bucket), granularity);
    counts[index] = (counts[index] ?? 0n) + BigInt(count);
  }
  return {
    histogram: Buffer.from(counts.buffer).toString('base64'),
    granularity,
    bucket_shift: granularity,
    min_range: 0,
    max_range: ranges - 1,
    tsc_rate: ticksPerSecond,
  };
}

/** Middle of one of raidkit's buckets on a logarithmic scale, in nanoseconds. */
function middleNs(bucket: number): number {
  return Math.round((LatencyHistogram.upperUs(bucket) * 1000) / 2 ** (1 / 8));
}

/** Index of SPDK's bucket for a value: buckets are linear within a range, and ranges double. */
function spdkBucket(value: number, shift: number): number {
  const perRange = 2 ** shift;
  if (value < perRange) return value;
  const range = Math.floor(Math.log2(value)) - shift + 1;
  return range * perRange + Math.floor(value / 2 ** (range - 1)) - perRange;
}
