import {
  createDelayBdev,
  createErrorBdev,
  createPassthruBdev,
  injectError,
  releasePending,
  setDelay,
} from '@raidkit/backend-virtual';
import { z } from 'zod';
import type { Service } from '../service.js';
import { internalFailed, invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { deleteMethod, findOf } from './find.js';
import { name, u32, u64, uuid } from './schemas.js';

/** SPDK's names of the latencies, mapped to raidkit's. */
const delays = {
  avg_read: 'avgReadUs',
  p99_read: 'p99ReadUs',
  avg_write: 'avgWriteUs',
  p99_write: 'p99WriteUs',
} as const;

/** SPDK's methods for devices on top of another one. */
export function stackedMethods(service: Service): RpcMethod[] {
  const { registry } = service;
  return [
    method({
      name: 'bdev_passthru_create',
      params: z.strictObject({ base_bdev_name: name, name, uuid: uuid.optional() }),
      badParams: internalFailed,
      async run(params) {
        const bdev = await createPassthruBdev(registry, {
          baseBdevName: params.base_bdev_name,
          name: params.name,
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
        });
        return bdev.name;
      },
    }),
    deleteMethod(service, 'bdev_passthru_delete', 'passthru'),
    method({
      name: 'bdev_delay_create',
      params: z.strictObject({
        base_bdev_name: name,
        name,
        uuid: uuid.optional(),
        avg_read_latency: u64,
        p99_read_latency: u64,
        avg_write_latency: u64,
        p99_write_latency: u64,
      }),
      badParams: internalFailed,
      async run(params) {
        const bdev = await createDelayBdev(registry, {
          baseBdevName: params.base_bdev_name,
          name: params.name,
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
          avgReadUs: params.avg_read_latency,
          p99ReadUs: params.p99_read_latency,
          avgWriteUs: params.avg_write_latency,
          p99WriteUs: params.p99_write_latency,
        });
        return bdev.name;
      },
    }),
    deleteMethod(service, 'bdev_delay_delete', 'delay'),
    method({
      name: 'bdev_delay_update_latency',
      params: z.strictObject({
        delay_bdev_name: name,
        latency_type: z.enum(['avg_read', 'p99_read', 'avg_write', 'p99_write']),
        latency_us: u64,
      }),
      badParams: internalFailed,
      run(params) {
        const bdev = findOf(service, params.delay_bdev_name, 'delay');
        setDelay(bdev, { [delays[params.latency_type]]: params.latency_us });
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'bdev_error_create',
      params: z.strictObject({ base_name: name, uuid: uuid.optional() }),
      badParams: invalidParams,
      async run(params) {
        await createErrorBdev(registry, {
          baseBdevName: params.base_name,
          ...(params.uuid === undefined ? {} : { uuid: params.uuid }),
        });
        return true;
      },
    }),
    deleteMethod(service, 'bdev_error_delete', 'error', invalidParams),
    method({
      name: 'bdev_error_inject_error',
      params: z.strictObject({
        name,
        io_type: z.enum(['read', 'write', 'unmap', 'flush', 'reset', 'all', 'clear']),
        error_type: z.enum(['failure', 'nomem', 'pending', 'corrupt_data']),
        num: u32.optional(),
        queue_depth: u64.optional(),
        corrupt_offset: u64.optional(),
        corrupt_value: z.int().min(0).max(255).optional(),
      }),
      badParams: invalidParams,
      run(params) {
        injectError(findOf(service, params.name, 'error'), {
          ioType: params.io_type,
          errorType: params.error_type,
          ...(params.num === undefined ? {} : { num: params.num }),
          ...(params.queue_depth === undefined ? {} : { queueDepth: params.queue_depth }),
          ...(params.corrupt_offset === undefined ? {} : { corruptOffset: params.corrupt_offset }),
          ...(params.corrupt_value === undefined ? {} : { corruptValue: params.corrupt_value }),
        });
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'bdev_error_resume_pending',
      params: z.strictObject({ name }),
      badParams: invalidParams,
      run(params) {
        releasePending(findOf(service, params.name, 'error'));
        return Promise.resolve(true);
      },
    }),
  ];
}
