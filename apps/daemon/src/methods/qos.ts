import { z } from 'zod';
import { mebibyte } from '../bdev-info.js';
import { internalFailed, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcError, errnoRefusal } from '../rpc/errors.js';
import type { Service } from '../service.js';
import { name, u64 } from './schemas.js';

/** Limits on I/Os per second are rounded up to a multiple of this, as in SPDK. */
const iosStep = 1000;
/** Highest limit in MiB/s whose bytes are an exact number. */
const mostMebibytes = Number.MAX_SAFE_INTEGER / mebibyte;

/** SPDK's method that sets rate limits of a device. */
export function qosMethods({ registry }: Service): RpcMethod[] {
  const mebibytes = u64.max(Math.floor(mostMebibytes)).optional();
  return [
    method({
      name: 'bdev_set_qos_limit',
      params: z.strictObject({
        name,
        rw_ios_per_sec: u64.optional(),
        rw_mbytes_per_sec: mebibytes,
        r_mbytes_per_sec: mebibytes,
        w_mbytes_per_sec: mebibytes,
      }),
      badParams: internalFailed,
      run(params) {
        const bdev = registry.get(params.name);
        if (bdev === undefined) throw errnoRefusal(19, `there is no bdev ${params.name}`);
        const { rw_ios_per_sec: ios, rw_mbytes_per_sec: both, r_mbytes_per_sec: read, w_mbytes_per_sec: write } = params;
        if ([ios, both, read, write].every((limit) => limit === undefined)) {
          throw new RpcError(-22, 'No rate limits specified', {
            reason: 'one of rw_ios_per_sec, rw_mbytes_per_sec, r_mbytes_per_sec and w_mbytes_per_sec must be given',
          });
        }
        const before = bdev.rateLimits;
        // A limit that is left out stays as it is; 0 removes one.
        bdev.rateLimits = {
          iosPerSecond: ios === undefined ? before.iosPerSecond : Math.ceil(ios / iosStep) * iosStep,
          bytesPerSecond: both === undefined ? before.bytesPerSecond : both * mebibyte,
          readBytesPerSecond: read === undefined ? before.readBytesPerSecond : read * mebibyte,
          writeBytesPerSecond: write === undefined ? before.writeBytesPerSecond : write * mebibyte,
        };
        return Promise.resolve(true);
      },
    }),
  ];
}
