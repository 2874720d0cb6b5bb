import type { Bdev, JsonObject } from '@raidkit/bdev';
import { z } from 'zod';
import { describeBdev, describeStats, tickRate } from '../bdev-info.js';
import type { Service } from '../service.js';
import { internalFailed, invalidDecoded, invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { errnoRefusal } from '../rpc/errors.js';
import { name, u32, u64 } from './schemas.js';

/** Longest wait for a device to appear, in milliseconds. */
export const maxWaitMs = 24 * 3600 * 1000;

/** Which counters are reset: all; the shortest and longest latencies, which are not kept; or error counters. */
const resetMode = z.enum(['all', 'maxmin', 'none', 'error']);

/** SPDK's methods for any device. */
export function bdevMethods(service: Service): RpcMethod[] {
  const { registry } = service;
  const find = (wanted: string): NonNullable<ReturnType<typeof registry.get>> => {
    const bdev = registry.get(wanted);
    if (bdev === undefined) throw errnoRefusal(19, `there is no bdev ${wanted}`);
    return bdev;
  };
  /** Devices that a call for statistics names; all if it names none. */
  const wanted = ({ name: one, names }: { name?: string | undefined; names?: readonly string[] | undefined }): Bdev[] => {
    const all = [...(one === undefined ? [] : [one]), ...(names ?? [])];
    return all.length === 0 ? registry.list() : all.map(find);
  };
  const describe = (bdev: Bdev): JsonObject => describeBdev(bdev, service.reactor);
  return [
    method({
      name: 'bdev_get_bdevs',
      params: z.strictObject({ name: name.optional(), timeout: u64.max(maxWaitMs).optional() }),
      badParams: internalFailed,
      async run(params) {
        if (params.name === undefined) return registry.list().map(describe);
        if (registry.get(params.name) === undefined && params.timeout !== undefined && params.timeout > 0) {
          await waitForBdev(service, params.name, params.timeout);
        }
        return [describe(find(params.name))];
      },
    }),
    method({
      name: 'bdev_get_iostat',
      params: z.strictObject({
        name: name.optional(),
        names: z.array(name).optional(),
        per_channel: z.boolean().optional(),
        reset_mode: resetMode.optional(),
      }),
      badParams: internalFailed,
      run(params) {
        if (params.name !== undefined && params.names !== undefined)
          throw errnoRefusal(22, 'name and names exclude each other: give one of them');
        const bdevs = wanted(params);
        const isPerChannel = params.per_channel === true;
        if (isPerChannel && bdevs.length !== 1) {
          throw errnoRefusal(22, 'per_channel needs a name: statistics by channel are of one bdev');
        }
        const answer = {
          tick_rate: tickRate,
          ticks: Math.round(registry.runtime.now() * 1000),
          ...(isPerChannel
            ? { name: bdevs[0]?.name, channels: bdevs.map(describeStats) }
            : { bdevs: bdevs.map(describeStats) }),
        };
        reset(bdevs, params.reset_mode ?? 'none');
        return Promise.resolve(answer);
      },
    }),
    method({
      name: 'bdev_reset_iostat',
      params: z.strictObject({ name: name.optional(), names: z.array(name).optional(), mode: resetMode.optional() }),
      badParams: internalFailed,
      run(params) {
        reset(wanted(params), params.mode ?? 'all');
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'bdev_wait_for_examine',
      params: null,
      async run() {
        await registry.waitForExamine();
        return true;
      },
    }),
    method({
      name: 'bdev_examine',
      params: z.strictObject({ name }),
      badParams: invalidDecoded,
      async run(params) {
        const bdev = find(params.name);
        // A device that was examined when it appeared is not examined again, as in SPDK.
        const { arrays, examining, exports } = service;
        const isVolume = arrays.ofVolume(bdev) !== undefined;
        if (examining.mayExamine(bdev) && !isVolume)
          throw errnoRefusal(22, 'every bdev is examined when it appears (bdev_auto_examine is on)');
        await exports.yieldVolumes([bdev.name]);
        try {
          await arrays.examine(bdev);
        } finally {
          examining.undeclare(bdev);
          exports.reconsider();
        }
        return true;
      },
    }),
    method({
      name: 'raidkit_set_unexamined',
      params: z.strictObject({ names: z.array(name), members: z.array(name).optional() }),
      run(params) {
        service.examining.unexamined = params.names;
        for (const member of params.members ?? []) service.examining.declare(member);
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'bdev_set_options',
      states: ['startup', 'runtime'],
      params: z.strictObject({
        bdev_io_pool_size: u32.optional(),
        bdev_io_cache_size: u32.optional(),
        bdev_auto_examine: z.boolean().optional(),
        iobuf_small_cache_size: u32.optional(),
        iobuf_large_cache_size: u32.optional(),
      }),
      badParams: invalidParams,
      run(params) {
        // Pools grow by themselves, so sizes are accepted without effect.
        service.examining.isAutomatic = params.bdev_auto_examine ?? service.examining.isAutomatic;
        return Promise.resolve(true);
      },
    }),
  ];
}

function reset(bdevs: readonly Bdev[], mode: z.infer<typeof resetMode>): void {
  for (const { stats } of bdevs) {
    if (mode === 'all') stats.reset();
    else if (mode === 'error') stats.errors.fill(0);
  }
}

function waitForBdev({ registry }: Service, wanted: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const listener = {
      onRegistered: () => {
        if (registry.get(wanted) !== undefined) end();
      },
    };
    const timer = setTimeout(end, timeoutMs);
    function end(): void {
      clearTimeout(timer);
      registry.removeListener(listener);
      resolve();
    }
    registry.addListener(listener);
  });
}
