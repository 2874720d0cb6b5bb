import type { JsonObject } from '@raidkit/bdev';
import { nullUuid } from '@raidkit/core';
import type { RaidArrays } from '@raidkit/core';
import { z } from 'zod';
import type { Service } from '../service.js';
import { allowParams } from '../allow-list.js';
import { describeRateLimits, tickRate } from '../bdev-info.js';
import { invalidParams, method } from '../rpc/dispatcher.js';
import type { RpcMethod } from '../rpc/dispatcher.js';
import { RpcCode, RpcError } from '../rpc/errors.js';
import { openRpcDocument } from '../rpc/open-rpc.js';
import { packageVersion } from '../version.js';
import { name } from './schemas.js';

const both = ['startup', 'runtime'] as const;
/** Signals that end the daemon; for all of them it stops in an orderly way. */
const signalNames = ['SIGINT', 'SIGTERM', 'INT', 'TERM', '2', '15', 'SIGKILL', 'KILL', '9', 'SIGQUIT', 'QUIT', '3'] as const;

/** SPDK's methods of the framework and of the application itself. */
export function frameworkMethods(service: Service): RpcMethod[] {
  return [
    method({
      name: 'rpc_get_methods',
      states: both,
      params: z.strictObject({ current: z.boolean().optional(), include_aliases: z.boolean().optional() }),
      badParams: invalidParams,
      run: ({ current = false, include_aliases: includeAliases = false }) =>
        Promise.resolve(service.dispatcher.names({ current, includeAliases })),
    }),
    method({
      name: 'rpc.discover',
      states: both,
      params: z.strictObject({}),
      badParams: invalidParams,
      run: () => Promise.resolve(openRpcDocument(service.dispatcher.list())),
    }),
    method({ name: 'spdk_get_version', states: both, params: null, run: () => Promise.resolve(version()) }),
    method({
      name: 'framework_start_init',
      states: ['startup'],
      params: null,
      run() {
        service.startInit();
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'raidkit_allow',
      // Limited to the startup state, so that nothing existing would have to be closed.
      states: ['startup'],
      params: allowParams,
      badParams: invalidParams,
      run({ arrays, devices }) {
        if (arrays !== undefined) service.allowedArrays.narrow(arrays);
        if (devices !== undefined) service.allowedDevices.narrow(devices);
        return Promise.resolve(true);
      },
    }),
    method({
      name: 'framework_wait_init',
      states: both,
      params: null,
      async run() {
        await service.waitInit();
        return true;
      },
    }),
    method({
      name: 'framework_get_subsystems',
      params: null,
      run: () => Promise.resolve([{ subsystem: 'bdev', depends_on: [] }]),
    }),
    method({
      name: 'framework_get_config',
      // Clients that support batches set this; single calls are right for them too.
      params: z.strictObject({ name, with_batches: z.boolean().optional() }),
      badParams: invalidParams,
      run(params) {
        if (params.name !== 'bdev') throw new RpcError(RpcCode.InvalidParams, `Subsystem '${params.name}' not found`);
        return Promise.resolve(bdevConfig(service));
      },
    }),
    method({
      name: 'thread_get_stats',
      params: null,
      run: () => Promise.resolve(threadStats(service)),
    }),
    method({
      name: 'spdk_kill_instance',
      states: both,
      params: z.strictObject({ sig_name: z.enum(signalNames) }),
      badParams: invalidParams,
      run() {
        service.requestStop();
        return Promise.resolve(true);
      },
    }),
  ];
}

/**
 * Calls that make the present devices again, in an order that works. Arrays with superblocks are not among them: they are
 * assembled from their members.
 */
export function bdevConfig({ arrays, attachments, examining, exports, reactor, registry }: Service): JsonObject[] {
  const calls: JsonObject[] = [
    {
      method: 'bdev_set_options',
      params: {
        bdev_io_pool_size: 65_535,
        bdev_io_cache_size: 256,
        bdev_auto_examine: examining.isAutomatic,
        iobuf_small_cache_size: 128,
        iobuf_large_cache_size: 16,
      },
    },
    {
      method: 'bdev_raid_set_options',
      params: raidOptions(arrays),
    },
  ];
  for (const bdev of registry.list()) {
    const call = bdev.driver.configCall?.();
    if (call === null || call === undefined) continue;
    const where = reactor.index > 0 && isPlacedByHand(call.method) ? { reactor: reactor.index } : {};
    calls.push({ method: call.method, params: { ...call.params, ...where } });
  }
  // Arrays that wait for members have no bdev.
  for (const array of arrays.list()) {
    const call = array.bdev === null ? array.describeConfig() : null;
    if (call !== null) calls.push({ method: call.method, params: call.params });
  }
  // Volumes that are members, but whose own array has no header to record that in.
  for (const { bdev, hasHeaders, outerUuid } of arrays.list()) {
    const isMember = outerUuid !== null && outerUuid !== nullUuid;
    if (isMember && bdev !== null && !hasHeaders) calls.push({ method: 'bdev_examine', params: { name: bdev.name } });
  }
  for (const { bdev, array } of arrays.listSpares()) {
    calls.push({ method: 'raidkit_add_spare', params: { bdev_name: bdev, ...(array === null ? {} : { name: array }) } });
  }
  for (const bdev of registry.list()) {
    const limits = describeRateLimits(bdev);
    if (Object.values(limits).some((limit) => limit !== 0)) {
      calls.push({ method: 'bdev_set_qos_limit', params: { name: bdev.name, ...limits } });
    }
  }
  calls.push(...exports.configCalls());
  for (const { bdevName, device } of attachments.list())
    calls.push({ method: 'nbd_start_disk', params: { bdev_name: bdevName, nbd_device: device } });
  calls.push({ method: 'bdev_wait_for_examine' });
  return calls;
}

/** Each reactor as a thread in SPDK's answer; times are in microseconds. */
function threadStats({ load, reactor, registry }: Service): JsonObject {
  const { awakeMs, asleepMs } = load();
  return {
    tick_rate: tickRate,
    threads: [
      {
        name: reactor.index === 0 ? 'app_thread' : `reactor_${reactor.index}`,
        id: reactor.index + 1,
        cpumask: '1',
        busy: Math.round(awakeMs * 1000),
        idle: Math.round(asleepMs * 1000),
        in_interrupt: false,
        active_pollers_count: 0,
        timed_pollers_count: registry.list().length,
        paused_pollers_count: 0,
      },
    ],
  };
}

/** SPDK's options, and raidkit's own where they differ from their defaults, since SPDK would refuse them. */
function raidOptions({ assemblyOptions, memberOptions, processOptions }: RaidArrays): JsonObject {
  const ours = [
    ['process_min_bandwidth_mb_sec', processOptions.minBandwidthMbSec, 1],
    ['process_latency_target_ms', processOptions.latencyTargetMs, 0],
    ['io_timeout_ms', memberOptions.ioTimeoutMs, 30_000],
    ['grace_sec', memberOptions.graceMs / 1000, 60],
    ['absent_wait_ms', assemblyOptions.absentWaitMs, 1000],
    ['degraded_start_sec', assemblyOptions.degradedStartMs / 1000, 30],
  ] as const;
  return {
    process_window_size_kb: processOptions.windowSizeKb,
    process_max_bandwidth_mb_sec: processOptions.maxBandwidthMbSec,
    ...Object.fromEntries(ours.filter(([, value, byDefault]) => value !== byDefault).map(([key, value]) => [key, value])),
  };
}

/** Whether a call may name a reactor; for all others it is chosen automatically. */
function isPlacedByHand(methodName: string): boolean {
  return methodName === 'bdev_malloc_create' || methodName === 'bdev_null_create';
}

function version(): JsonObject {
  const text = packageVersion();
  const [major = 0, minor = 0, patch = 0] = text.split('.').map(Number);
  return { version: `raidkit v${text}`, fields: { major, minor, patch, suffix: '' } };
}
