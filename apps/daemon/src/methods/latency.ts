import { LatencyHistogram, histogramBuckets, ioTypeNames } from '@raidkit/bdev';
import type { Bdev, JsonObject } from '@raidkit/bdev';
import { z } from 'zod';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import type { Service } from '../service.js';
import { name } from './schemas.js';

/** raidkit's own method for the latency histograms of every device: with fewer buckets than SPDK's, and always on. */
export function latencyMethods({ registry }: Service): RpcMethod[] {
  return [
    method({
      name: 'raidkit_get_latency',
      params: z.strictObject({ name: name.optional() }),
      badParams: invalidParams,
      run(params) {
        if (params.name === undefined) return Promise.resolve(registry.list().map(describe));
        const bdev = registry.get(params.name);
        if (bdev === undefined) throw errnoRefusal(19, `there is no bdev ${params.name}`);
        return Promise.resolve([describe(bdev)]);
      },
    }),
  ];
}

function describe({ name: device, stats }: Bdev): JsonObject {
  const operations = ioTypeNames.map((type, index) => {
    const counts = stats.histograms[index]?.counts ?? [];
    const buckets: [number, number][] = [];
    let count = 0;
    for (let bucket = 0; bucket < histogramBuckets; bucket++) {
      const inBucket = counts[bucket] ?? 0;
      if (inBucket === 0) continue;
      count += inBucket;
      buckets.push([LatencyHistogram.upperUs(bucket), inBucket]);
    }
    return { type, count, total_us: (stats.latencyMs[index] ?? 0) * 1000, errors: stats.errors[index] ?? 0, buckets };
  });
  return { name: device, operations: operations.filter(({ count, errors }) => count + errors > 0) };
}
